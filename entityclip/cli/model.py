"""From data to a measured model: ``train``, ``evaluate``."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entityclip.cli.folders import claim, content_hash, explained
from entityclip.cli.options import Checkpoint, Csv, Data, Json, Rerank
from entityclip.cli.printed import last_line, on_terminal, table
from entityclip.layout import CheckpointLayout, DataLayout, RunLayout
from entityclip.records import Candidates, EvalReport, Split

if TYPE_CHECKING:
    from entityclip.checkpoint import LoadedModel
    from entityclip.rerank import RerankReport


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
    candidates: Annotated[
        Candidates | None,
        typer.Option(help="All entities, or only those of the split; without it, split for news sets, else all."),
    ] = None,
    rerank: Rerank = 0,
    csv: Csv = None,
    as_json: Json = False,
) -> None:
    """Measure a model: recall by slice, then every figure; --json has their 95 % intervals as well.

    The rows of --csv are the single queries with the rank of the truth. With --rerank also what re-ranking the first
    K entities of the mixed index would gain with each weight of the matching head, and what it costs.
    """
    from entityclip import checkpoint as checkpoints
    from entityclip.evaluate import evaluate as measure
    from entityclip.report import slice_table

    source = explained(data)
    model = checkpoints.load(CheckpointLayout(checkpoint))
    report, queries = measure(model, source, split=split, candidates=candidates, progress=on_terminal())
    typer.echo(slice_table(report))
    _show_figures(report)
    if csv is not None:
        queries.to_csv(csv, index=False)
        typer.echo(f"\nEvery query: {csv}")
    answer = report.model_dump()
    if rerank:
        answer["rerank"] = _reranked(model, source, split=split, first=rerank).model_dump()
    last_line(answer, as_json)


def _reranked(model: LoadedModel, data: DataLayout, *, split: Split, first: int) -> RerankReport:
    from entityclip.rerank import measure_rerank

    report = measure_rerank(model, data, split=split, first=first, progress=on_terminal())
    typer.echo(f"\nfirst {first} of the mixed index judged again: R@1, and the points gained over all pictures")
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
