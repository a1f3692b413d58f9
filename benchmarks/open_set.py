"""Known and unknown pictures: how often a sure tag is right, and how often something unknown gets one.

    python benchmarks/open_set.py --json
    python benchmarks/open_set.py --checkpoint first/checkpoint --data mine --json

Every test picture is tagged with its own entity in the catalogue, and with that left out: then it shows something
unknown. ``before`` marks tags by the confidence alone, as a card without an open-set rule does; the other figures are
those of both. ``foreign`` has the shares of other pictures that get a sure tag: of a drawn catalogue of another seed,
of mosaics, of noise, and of grey cards with a code that no product has. The model is calibrated on the validation
pictures first. Without --checkpoint, the demo preset is trained on the built-in catalogue (minutes). All figures are
shares.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from lib.machine import facts, peak_gib
from lib.unknown_pictures import unknown_pictures

from entityclip.data.ingest import ingest
from entityclip.data.sources.catalog import CatalogSource
from entityclip.evaluation.calibrate import calibrate
from entityclip.evaluation.evaluate import evaluate
from entityclip.explanations import SourceWriter, explain
from entityclip.model import checkpoint as checkpoints
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import CheckpointLayout, DataLayout, Layout
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.retrieval.predictor import Predictor
from entityclip.retrieval.tagging import PRECISION
from entityclip.schemas import SLICES, EvalReport
from entityclip.training import presets
from entityclip.training.trainer import fit

NAMES = {
    "auroc": "auroc",
    "fpr95": "fpr95",
    "false_accept_at_0.9": "false_accept_at_0.9",
    "precision_at_0.9": "precision_at_0.9",
    "precision_with_20_percent_outside": "precision_with_unknown_at_0.9",
    "coverage_at_0.9": "coverage_at_0.9",
}
"""Name in the answer -> in the evaluation report."""


def trained(layout: Layout) -> tuple[LoadedModel, DataLayout]:
    """The demo preset on the built-in catalogue."""
    data, run = layout.staging, layout.run("demo")
    source = CatalogSource(layout.drawn, faults=False, progress=False)
    ingest(source, staging=data, rejected=layout.rejected("catalog"), progress=False)
    explain(data, writer=SourceWriter(), ledger=layout.ledger)
    fit(presets.demo().train, data=data, data_hash="", run=run, report=lambda *_: None, progress=False)
    return checkpoints.load(run.checkpoint), data


def shares(report: EvalReport, *, part: str = "all") -> dict[str, float | None]:
    """The report's figures of one slice."""
    found = {name: report.open_set_value(of, slice=part) for name, of in NAMES.items()}
    return {name: None if value is None else round(value / 100, 4) for name, value in found.items()}


def foreign(model: LoadedModel, data: DataLayout, folder: Path, *, count: int, seed: int) -> dict[str, float]:
    """Kind of unknown picture -> share that gets a sure tag from an index of the training pictures."""
    pictures = PictureIndex.build(model, data, split="train")
    predictor = Predictor(model, EntityIndex.build(model, data, pictures=pictures), pictures)
    found = {}
    for kind, images in unknown_pictures(folder, count=count, seed=seed).items():
        marked = [any(tag.above_threshold for tag in predictor.tag(image, precision=PRECISION)) for image in images]
        found[kind] = round(float(np.mean(marked)), 4)
    return found


def main(
    checkpoint: Annotated[Path | None, typer.Option(help="A trained model; it is not written to.")] = None,
    data: Annotated[Path | None, typer.Option(help="The data that it was trained on.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Foreign pictures of each kind.")] = 300,
    seed: Annotated[int, typer.Option(help="Of the foreign catalogue; the built-in one has 7.")] = 11,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Calibrate, evaluate with and without the open-set rule, print one JSON object, last."""
    if (checkpoint is None) != (data is None):
        typer.echo("--checkpoint and --data go together: the model, and what it was trained on", err=True)
        raise typer.Exit(2)
    started = time.monotonic()
    answer: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        if checkpoint is not None and data is not None:
            model, source = checkpoints.load(CheckpointLayout(checkpoint)), DataLayout(data)
        else:
            typer.echo("no --checkpoint: training the demo preset first, which takes minutes", err=True)
            model, source = trained(Layout(Path(temporary) / "demo"))
        model = replace(model, card=calibrate(model, source))
        alone = replace(model, card=model.card.model_copy(update={"open_set": None}))
        folder = Path(temporary) / "foreign"
        for name, measured in (("before", alone), ("after", model)):
            report, _ = evaluate(measured, source, progress=False)
            figures: dict[str, Any] = shares(report)
            figures["slices"] = {part: shares(report, part=part) for part in SLICES}
            figures["foreign"] = foreign(measured, source, folder, count=count, seed=seed)
            answer |= {"before": figures} if name == "before" else figures
    answer |= {"pictures": report.pictures, "entities": report.entities, "epochs": model.card.epochs}
    answer |= {"seconds": round(time.monotonic() - started, 1), "peak_gib": peak_gib()}
    if not as_json:
        for name in NAMES:
            print(f"{name:36} {answer['before'][name]:.3f} -> {answer[name]:.3f}")
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
