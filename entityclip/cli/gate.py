"""The command ``gate-report``: measures the effect of the quality gate on recall."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entityclip.cli.options import Json, Workspace
from entityclip.cli.output import last_line, on_terminal, table
from entityclip.cli.validate_paths import content_hash, explained
from entityclip.data import pairs
from entityclip.paths import GateLayout, Layout

if TYPE_CHECKING:
    import pandas as pd

    from entityclip.experiments.gate_report import GateStudy, Limit, TrainedVariant


def gate_report(
    quarantine: Annotated[
        Path, typer.Argument(metavar="FILE", help="quarantine.csv of a run; the run prints its path.")
    ],
    workspace: Workspace = Path(),
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Data that FILE refers to; default: staging of the workspace.")
    ] = None,
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results; the same command resumes it.")] = Path(
        "build/gate"
    ),
    preset: Annotated[str, typer.Option(help="Settings to train with: demo, photos, grocery, table or tiny.")] = "demo",
    seeds: Annotated[int, typer.Option(min=1, help="Training runs per variant.")] = 3,
    epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs; default: as in the preset.")] = None,
    tune: Annotated[
        str | None, typer.Option(metavar="RULE", help="Also choose a limit, such as 'too_short: words >= 2, 4, 8'.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the planned training runs and exit.")] = False,
    as_json: Json = False,
) -> None:
    """Train with the gate off, on, and with each rule removed in turn; compare recall.

    Writes a page with tables, plots and the cost of a point of recall. Finished runs are not repeated. --tune trains
    with each limit of one rule and selects the best on validation pictures.

    \b
    Example:
      entityclip gate-report quarantine.csv --workspace shop-search --dry-run
    """
    from entityclip.experiments.gate_report import GateStudy, parse_limit, retrain, variants
    from entityclip.quality.quarantine_file import broken_texts
    from entityclip.training.presets import preset as named_preset

    layout, kept = Layout(workspace), GateLayout(to)
    source, limit = explained(layout.staging.root if data is None else data), parse_limit(tune) if tune else None
    config = named_preset(preset).train.changed(epochs=epochs)
    broken = broken_texts(quarantine)
    planned = variants(pairs.read_frame(source.explanations), broken)
    if dry_run:
        table([{"training": v.name, "texts": len(v.texts), "times": seeds} for v in planned])
        return
    study = GateStudy(source, content_hash(source), config, seeds, kept.runs)
    # As in the main job: the validation pictures where the data hold no test split.
    split = pairs.evaluation_split(source)
    trained = list(retrain(study, planned, split=split, report=_report, progress=on_terminal()))
    tuned, chosen = (None, "") if limit is None else _tuned(study, limit, broken)
    answer = _write_results(kept, layout, trained, broken, tuned=tuned, chosen=chosen)
    last_line(answer | {"seeds": seeds, "page": str(kept.page)}, as_json)


def _write_results(
    kept: GateLayout,
    layout: Layout,
    trained: list[TrainedVariant],
    broken: pd.DataFrame,
    *,
    tuned: pd.DataFrame | None,
    chosen: str,
) -> dict[str, Any]:
    """Write and print the tables and the page; return the figures for the last line."""
    from entityclip.experiments.gate_report import costs, recall_table, worth_table
    from entityclip.experiments.gate_report.costs import spent
    from entityclip.experiments.gate_report.page import markdown, write_gate_page
    from entityclip.quality.review import read_reviews

    recall, worth = recall_table(trained), worth_table(trained, broken)
    whole = worth[(worth["rule"] == "") & (worth["slice"] == "all")]
    ledger = costs(spent(layout.ledger), read_reviews(layout.reviews), trained, points=float(whole["value"].iloc[0]))
    seeds = len({one.seed for one in trained})
    write_gate_page(kept.page, recall=recall, worth=worth, spent=ledger, seeds=seeds, tuned=tuned, chosen=chosen)
    kept.recall.write_text(markdown(recall, "variant"), encoding="utf-8")
    kept.worth.write_text(markdown(worth, "rule"), encoding="utf-8")
    typer.echo(f"{markdown(recall, 'variant')}\n{markdown(worth, 'rule')}\n{chosen}\nPage: {kept.page}")
    figures = {"recall": recall.to_dict("records"), "worth": worth.to_dict("records")}
    return figures | {"costs": [line.model_dump() for line in ledger]}


def _report(trained: TrainedVariant) -> None:
    evaluation = trained.result.measured.evaluation
    figures = {kind: evaluation.value("R@1", index=kind) for kind in ("explanation", "mixed")}
    line = "  ".join(f"{kind} {value:.1f}" for kind, value in figures.items() if value is not None)
    typer.echo(f"{trained.variant.name}, seed {trained.seed}: R@1 {line}", err=True)


def _tuned(study: GateStudy, limit: Limit, broken: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Recall by limit on validation pictures, and the resulting change of the suite."""
    from entityclip.experiments.gate_report import tune as try_limits
    from entityclip.experiments.gate_report.tuning import best_limit
    from entityclip.quality import score_explanations

    texts, entities = pairs.read_frame(study.data.explanations), pairs.read_frame(study.data.entities)
    scored = score_explanations(texts, entities)
    tuned = try_limits(study, limit, scored=scored, broken=broken, report=_report, progress=on_terminal())
    best = best_limit(tuned, limit=limit)
    return tuned, (
        f"{limit.rule}: {limit.column} {limit.sign} {best:g} is best on validation pictures. In "
        f'expectations/gx/expectations/explanations.json, the kwargs of {limit.rule} become {{"column": '
        f'"{limit.column}", "{limit.keyword}": {best:g}}}.'
    )
