"""The commands ``train`` and ``evaluate``."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entityclip.cli.options import Checkpoint, Csv, Data, Json, Mapping, Products, Rerank, SourceOption, SourcePath
from entityclip.cli.output import last_line, on_terminal, table
from entityclip.cli.validate_paths import claim, content_hash, explained
from entityclip.errors import ConfigError
from entityclip.paths import CheckpointLayout, DataLayout, Layout, RunLayout
from entityclip.schemas import Candidates, EvalReport, OpenSplit
from entityclip.storage import write_table

if TYPE_CHECKING:
    from entityclip.data.sources import SourceOptions
    from entityclip.model.checkpoint import LoadedModel
    from entityclip.model.checkpoint_card import CheckpointCard
    from entityclip.retrieval.rerank import RerankReport
    from entityclip.training import TrainConfig


def train(
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with explanations, or data/.")] = None,
    source: SourceOption = None,
    source_path: SourcePath = None,
    mapping: Mapping = None,
    products: Products = None,
    run: Annotated[
        Path, typer.Option("--to", "--run", metavar="DIR", help="Folder of the run; the same command resumes it.")
    ] = Path("build/run"),
    preset: Annotated[
        str | None,
        typer.Option(
            help="Settings: demo, photos, grocery, table, published or tiny; default: photos with --source table, else "
            "demo."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Instead of --preset: JSON or YAML file with settings.")] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="Initial weights: open_clip tag, file or folder; 'none' trains from scratch.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs; default: as in the settings.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Budget of the training: as many epochs as fit into it.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: as in the settings.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the settings as JSON and exit.")] = False,
    as_json: Json = False,
) -> None:
    """Train a model; a killed run resumes from its last saved state.

    To train with several processes:
    torchrun --nproc-per-node 2 -m entityclip train ...

    \b
    Example:
      entityclip train --preset photos --data mine --run first --minutes 5
    """
    from entityclip.data.sources import SourceOptions
    from entityclip.training import run_key
    from entityclip.training.devices import join
    from entityclip.training.presets import usual_preset
    from entityclip.training.trainer import fit

    options = SourceOptions(source=source, path=source_path, mapping=mapping, products=products)
    settings, warning = _settings(preset or usual_preset(source or ""), config, pretrained=pretrained)
    settings = settings.changed(epochs=epochs, minutes=minutes, device=device)
    target, processes = RunLayout(run), join(settings)
    if processes.is_main_process:
        for note in filter(None, (warning, settings.backbone)):
            typer.echo(note, err=True)
    if dry_run:
        typer.echo(settings.model_dump_json(indent=2))
        return
    with processes.main_process_first():  # the others reuse the data that the first has read
        folder = explained(data) if data is not None else read_source(options, Layout(run))
        data_hash = content_hash(folder)
        claim(target, run_key(settings, data_hash=data_hash))
    report = partial(_show_epoch, "" if settings.minutes else f"/{settings.epochs}")
    card = fit(settings, data=folder, data_hash=data_hash, run=target, report=report, progress=on_terminal())
    if processes.is_main_process:
        _show_card(card, target, folder=folder, as_json=as_json)


def _show_epoch(of: str, epoch: int, terms: dict[str, float]) -> None:
    from tqdm import tqdm

    tqdm.write(f"epoch {epoch}{of}  " + "  ".join(f"{name} {value:.3f}" for name, value in terms.items()))


def _settings(preset: str, config: Path | None, *, pretrained: str | None) -> tuple[TrainConfig, str]:
    """Settings of the preset or file, with other first weights; and a warning if the pretrained weights are missing."""
    from entityclip.model.weights import weights_file
    from entityclip.training import read_config
    from entityclip.training.presets import preset as named_preset

    settings = named_preset(preset).train if config is None else read_config(config)
    if pretrained is not None:
        return settings.starting_from(None if pretrained == "none" else pretrained), ""
    towers = settings.model.towers
    try:
        if config is None and towers.pretrained is not None:
            weights_file(towers.architecture, towers.pretrained)
    except ConfigError as error:
        scratch = "Training starts from scratch; its figures cannot be compared with the preset's."
        return settings.starting_from(None), f"WARNING: {error}\n{scratch} --pretrained names weights."
    return settings, ""


def read_source(options: SourceOptions, layout: Layout) -> DataLayout:
    """Ingest the source into the working folder of ``layout``, once.

    Raises:
        ConfigError: No source is given, or the folder holds other data.
    """
    from entityclip.data.ingest import ingest
    from entityclip.data.pairs import digest
    from entityclip.data.sources import open_source
    from entityclip.explanations import SourceWriter, explain
    from entityclip.storage import atomic_write

    if options.source is None:
        raise ConfigError("no data given; expected --data DIR, or --source NAME and --source-path")
    opened = open_source(options, layout=layout, progress=on_terminal())
    mark, origin = digest(options.source, opened.fingerprint()), layout.origin
    if origin.is_file() and origin.read_text() != mark:
        raise ConfigError(f"{layout.root}: holds the data of another source; choose a new folder")
    if not origin.is_file():
        ingest(opened, staging=layout.staging, rejected=layout.staging.rejected, progress=on_terminal())
        explain(layout.staging, writer=SourceWriter(), ledger=layout.source_provided_ledger, progress=on_terminal())
        atomic_write(origin, mark)
    return explained(layout.staging.root)


def _show_card(card: CheckpointCard, run: RunLayout, *, folder: DataLayout, as_json: bool) -> None:
    checkpoint = run.checkpoint.root
    for kind in ("captions", "explanations"):
        if share := card.metrics.get(f"truncated_{kind}"):
            context = card.tokenisation.context
            typer.echo(f"{share:.1%} of the {kind} are longer than {context} tokens and were truncated")
        if share := card.metrics.get(f"in_pieces_{kind}"):
            context = card.tokenisation.context
            typer.echo(f"{share:.1%} of the {kind} are longer than {context} tokens and are read in pieces")
    typer.echo(f"Model {card.fingerprint} after {card.epochs:g} epochs: {checkpoint}")
    typer.echo(f"Next: entityclip evaluate --checkpoint {checkpoint} --data {folder.root}")
    last_line({"fingerprint": card.fingerprint, "checkpoint": str(checkpoint), "metrics": card.metrics}, as_json)


def evaluate(
    checkpoint: Checkpoint,
    data: Data,
    split: Annotated[OpenSplit, typer.Option(help="Split to evaluate.")] = "test",
    candidates: Annotated[
        Candidates | None,
        typer.Option(help="All entities, or only those of the split; default: split for news sets, otherwise all."),
    ] = None,
    rerank: Rerank = 0,
    csv: Csv = None,
    as_json: Json = False,
) -> None:
    """Evaluate a model: recall by slice, what would raise it, then all metrics; --json has their 95 % intervals.

    --csv writes one row per query with the rank of the correct answer. --rerank also reports the gain and the cost of
    re-ranking the first K entities of the mixed index, for each weight of the matching head.

    \b
    Example:
      entityclip evaluate --checkpoint first/checkpoint --data mine
    """
    from entityclip.evaluation.evaluate import evaluate as measure
    from entityclip.model import checkpoint as checkpoints
    from entityclip.reports.improvements import improvements_text
    from entityclip.reports.near_duplicates import near_duplicates_text
    from entityclip.reports.run_report import open_set_rows, slice_table

    source = explained(data)
    model = checkpoints.load(CheckpointLayout(checkpoint))
    report, queries = measure(
        model, source, split=split, candidates=candidates, improvements=True, progress=on_terminal()
    )
    typer.echo(slice_table(report))
    if line := near_duplicates_text(report):
        typer.echo(line)
    if report.improvements:
        typer.echo(f"\n{improvements_text(report.improvements)}")
    _show_figures(report)
    if report.open_set:
        typer.echo("\nopen set, by slice of the tagged entity; of an unknown picture the own entity is left out")
        table(open_set_rows(report), decimals=1)
    if csv is not None:
        write_table(csv, queries)
        typer.echo(f"\nAll queries: {csv}")
    answer = report.model_dump()
    if rerank:
        answer["rerank"] = _reranked(model, source, split=split, first=rerank).model_dump()
    last_line(answer, as_json)


def _reranked(model: LoadedModel, data: DataLayout, *, split: OpenSplit, first: int) -> RerankReport:
    from entityclip.retrieval.rerank import measure_rerank

    report = measure_rerank(model, data, split=split, first=first, progress=on_terminal())
    typer.echo(f"\nfirst {first} of the mixed index re-ranked: R@1, and gain in points over all pictures")
    table(
        [{"weight": f"{t.weight:g}", **t.recall, "gain": t.gain, "from": t.low, "to": t.high} for t in report.weights]
    )
    typer.echo(f"On the card: weight {model.card.rerank:g}", nl=False)
    typer.echo("" if model.card.rerank else ", so that re-ranking keeps the order")
    typer.echo(f"A search takes {report.search_ms:.1f} ms a picture, re-ranking {report.rerank_ms:.1f} ms more")
    return report


def _show_figures(report: EvalReport) -> None:
    """One table for each index and direction, one line for each slice."""
    tables: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for metric in report.metrics:
        title = f"{metric.index}, {metric.direction.replace('_', ' ')}"
        line = tables[title].setdefault(metric.slice, {"slice": metric.slice, "queries": metric.queries})
        line[metric.name] = metric.value
    for title, lines in tables.items():
        typer.echo(f"\n{title}")
        table(list(lines.values()), decimals=1)
