"""From data to a measured model: ``train``, ``evaluate``."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import typer

from entityclip.cli.folders import claim, content_hash, explained
from entityclip.cli.options import Checkpoint, Csv, Data, Json
from entityclip.cli.printed import last_line, on_terminal, table
from entityclip.layout import CheckpointLayout, RunLayout
from entityclip.records import EvalReport, Split


def train(
    data: Data,
    run: Annotated[Path, typer.Option(metavar="DIR", help="Where the run is kept; the same command resumes it.")],
    preset: Annotated[str, typer.Option(help="Training settings: demo, grocery, table or tiny.")] = "demo",
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number of epochs than the preset's.")] = None,
    as_json: Json = False,
) -> None:
    """Train a model from scratch; a run that was killed goes on where it was saved."""
    from entityclip.presets import preset as named_preset
    from entityclip.train import fit, run_key

    source, target = explained(data), RunLayout(run)
    config = named_preset(preset).train
    config = config.model_copy(update={"epochs": epochs}) if epochs is not None else config
    data_hash = content_hash(source)
    claim(target, run_key(config, data_hash=data_hash))

    def tell(epoch: int, terms: dict[str, float]) -> None:
        from tqdm import tqdm

        figures = "  ".join(f"{name} {value:.3f}" for name, value in terms.items())
        tqdm.write(f"epoch {epoch}/{config.epochs}  {figures}")

    card = fit(config, data=source, data_hash=data_hash, run=target, report=tell, progress=on_terminal())
    checkpoint = target.checkpoint.root
    typer.echo(f"Model {card.fingerprint} after {card.epochs:g} epochs: {checkpoint}")
    typer.echo(f"Next: entityclip evaluate --checkpoint {checkpoint} --data {data}")
    last_line({"fingerprint": card.fingerprint, "checkpoint": str(checkpoint), "metrics": card.metrics}, as_json)


def evaluate(
    checkpoint: Checkpoint,
    data: Data,
    split: Annotated[Split, typer.Option(help="Whose pictures are asked about.")] = "test",
    csv: Csv = None,
    as_json: Json = False,
) -> None:
    """Measure a model: recall by slice, then every figure; --json has their 95 % intervals as well.

    The rows of --csv are the single queries with the rank of the truth.
    """
    from entityclip import checkpoint as checkpoints
    from entityclip.evaluate import evaluate as measure
    from entityclip.report import slice_table

    source = explained(data)
    model = checkpoints.load(CheckpointLayout(checkpoint))
    report, queries = measure(model, source, split=split, progress=on_terminal())
    typer.echo(slice_table(report))
    _show_figures(report)
    if csv is not None:
        queries.to_csv(csv, index=False)
        typer.echo(f"\nEvery query: {csv}")
    last_line(report.model_dump(), as_json)


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
