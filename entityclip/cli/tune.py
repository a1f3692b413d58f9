"""The commands ``calibrate`` and ``tune``, which use validation pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from entityclip.cli.options import Checkpoint, Data, Json
from entityclip.cli.output import last_line, on_terminal, table
from entityclip.cli.validate_paths import content_hash, explained
from entityclip.paths import CheckpointLayout, DataLayout, StudyLayout
from entityclip.schemas import MixtureGroup

if TYPE_CHECKING:
    from entityclip.experiments.tune import TrialRow
    from entityclip.model.checkpoint_card import CheckpointCard
    from entityclip.training import TrainConfig


def calibrate(checkpoint: Checkpoint, data: Data, as_json: Json = False) -> None:
    """Calibrate a checkpoint on validation pictures and store the result in its card.

    Determines the weights of caption, explanation and images in the mixed index, with scale and offset, for each group
    of entities; the confidence thresholds of 'sure' tags; the open-set rule beside them, with its thresholds for each
    group of the tagged entity; and the weight of the matching head in re-ranking. Replaces earlier values.

    \b
    Example:
      entityclip calibrate --checkpoint first/checkpoint --data mine
    """
    from entityclip.evaluation.calibrate import calibrate as measure
    from entityclip.model import checkpoint as checkpoints
    from entityclip.retrieval.rerank import calibrate_rerank
    from entityclip.retrieval.tagging import PRECISIONS

    source, layout = explained(data), CheckpointLayout(checkpoint)
    model = checkpoints.load(layout)
    card = measure(model, source, progress=on_terminal())
    weight = calibrate_rerank(replace(model, card=card), source, progress=on_terminal())
    card.model_copy(update={"rerank": weight}).write(layout.card)
    table([{"entities": group} | mixture.model_dump() for group, mixture in card.mixture.items()])
    typer.echo()
    table([_thresholds(card, p) for p in PRECISIONS])
    if card.open_set and (pooled := {group for target in card.open_set.targets for group in target.pooled}):
        typer.echo(f"Too few tags for a threshold of their own, so that all groups' holds: {', '.join(sorted(pooled))}")
    typer.echo(
        f"\nRe-ranking: weight {weight:g} of the matching head" + ("" if weight else "; its gain is not significant")
    )
    mixture = {group: found.model_dump() for group, found in card.mixture.items()}
    open_set = card.open_set and card.open_set.model_dump()
    answer = {"mixture": mixture, "thresholds": card.thresholds, "open_set": open_set, "rerank": weight}
    last_line(answer, as_json)


def _thresholds(card: CheckpointCard, precision: float) -> dict[str, str | float]:
    """The row of a target precision: least confidence, and least open-set score by group of the tagged entity."""
    confidence = card.thresholds.get(str(precision))
    target = None if card.open_set is None else card.open_set.target(precision)
    row: dict[str, str | float] = {"precision": f"{precision:g}", "false accepts": f"{1 - precision:.2g}"}
    row["least confidence"] = "not proven" if confidence is None else confidence
    least = {} if target is None else target.thresholds
    return row | {group: least.get(group, "-" if target else "not proven") for group in get_args(MixtureGroup)}


def tune(
    data: Data,
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the search; the same command resumes it.")],
    preset: Annotated[
        str, typer.Option(help="Settings to start from: demo, photos, grocery, table, published or tiny.")
    ] = "demo",
    config: Annotated[Path | None, typer.Option(help="Instead of --preset: JSON or YAML file with settings.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs; default: as in the settings.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Number of trials, including those of earlier calls.")] = 30,
    minutes: Annotated[float | None, typer.Option(help="Start no trial after this many minutes.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the search space and the estimated time, and exit.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Search the numbers of experts, the loss weights and the minimum quality of explanations.

    A trial trains for a quarter of the epochs first, and continues only if it beats the median of the others. The
    objective is R@1 of the mixed index on validation pictures, averaged over the slices of entities.

    \b
    Example:
      entityclip tune --preset table --data mine
    """
    from entityclip.experiments.tune import SearchLimits
    from entityclip.experiments.tune import tune as search
    from entityclip.training import read_config
    from entityclip.training.presets import preset as named_preset

    source, study = explained(data), StudyLayout(to)
    settings = named_preset(preset).train if config is None else read_config(config)
    settings = settings.changed(epochs=epochs)
    if dry_run:
        _show_plan(settings, source, trials=trials, as_json=as_json)
        return
    found = search(
        settings,
        data=source,
        data_hash=content_hash(source),
        study=study,
        limits=SearchLimits(trials=trials, minutes=minutes),
        report=_report,
        progress=on_terminal(),
    )
    best = found.best
    table([_line(row) for row in sorted(found.trials, key=lambda row: -(row.score or 0))[:10]], decimals=2)
    typer.echo(f"\nTrial {best.number}: {best.score:.1f}. All trials: {study.table}, {study.plot}")
    chosen = study.data(best.proposal.min_quality).root if best.proposal.min_quality else data
    typer.echo(f"Next: entityclip train --config {study.best} --data {chosen} --run tuned")
    last_line(found.model_dump(mode="json", exclude={"config"}) | {"config": str(study.best)}, as_json)


def _show_plan(config: TrainConfig, data: DataLayout, *, trials: int, as_json: bool) -> None:
    from entityclip.experiments.tune.cost import seconds_per_epoch
    from entityclip.experiments.tune.space import MOST_EXPERTS, QUALITIES, WEIGHTS
    from entityclip.experiments.tune.study import RUNGS

    experts = [f"{kind} experts" for kind in ("image", "shared", "text")]
    lines = [{"searched": name, "from": "1", "to": f"{MOST_EXPERTS}"} for name in experts]
    lines += [{"searched": f"weight {n}", "from": f"{a:g}", "to": f"{b:g}"} for n, (a, b) in WEIGHTS.items()]
    table([*lines, {"searched": "min quality", "from": f"{QUALITIES[0]:g}", "to": f"{QUALITIES[-1]:g}"}])
    epoch = seconds_per_epoch(config, data)
    least, most = (trials * share * config.epochs * epoch / 60 for share in (RUNGS[0], sum(RUNGS)))
    typer.echo(f"\nAn epoch takes about {epoch:.1f} s here, a trial {config.epochs} of them or a quarter.")
    typer.echo(f"{trials} trials take {least:.0f} to {most:.0f} minutes of training, scoring not counted.")
    last_line({"seconds_per_epoch": epoch, "least_minutes": least, "most_minutes": most}, as_json)


def _report(row: TrialRow) -> None:
    from tqdm import tqdm

    score = "-" if row.score is None else f"{row.score:.1f}"
    tqdm.write(f"trial {row.number}: {score}, {row.state} after {row.epochs} epochs and {row.seconds:.0f} s")


def _line(row: TrialRow) -> dict[str, float | str]:
    p = row.proposal
    experts = f"{p.image_experts}-{p.shared_experts}-{p.text_experts}"
    weights = {"beta": p.beta, "eta": p.eta, "explanation": p.explanation, "min quality": p.min_quality}
    score = "-" if row.score is None else f"{row.score:.1f}"
    return {"trial": str(row.number), "R@1": score, "state": row.state, "experts": experts, **weights}
