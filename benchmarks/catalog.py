"""Value of explanations on the drawn catalogue with its long tail: captions only against the whole model.

    python benchmarks/catalog.py --json

Both models have the settings and the number of epochs of the demo preset. The first one trains on captions alone; the
second one adds the image-explanation term, the experts and the gated matching. Results are R@1 in percent, picture to
entity, on test pictures, by the number of training pictures of the entity: ``mixed`` is the mixture of all kinds, and
``texts`` that of caption and explanation alone, both calibrated on the same validation pictures.

``added_with_two_pictures`` is about products of the same drawing that are no part of the catalogue or its training:
each is added to the served index with two pictures and a name that means nothing, and queried with its other pictures.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from lib.left_out import LEFT_OUT, Catalogued, recalled
from lib.machine import facts, peak_gib

from entityclip.data.ingest import ingest
from entityclip.data.sources.catalog import CatalogSource
from entityclip.evaluation.calibrate import calibrate, calibrate_index
from entityclip.evaluation.evaluate import evaluate
from entityclip.explanations import SourceWriter, explain
from entityclip.model import checkpoint
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.config import LossConfig
from entityclip.paths import DataLayout, Layout
from entityclip.reports.run_report import slice_table
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.schemas import SLICES, EvalReport
from entityclip.training import TrainConfig, presets
from entityclip.training.trainer import fit

SLICE_KEYS = dict(zip(SLICES, ("frequent", "two", "one", "none"), strict=True))


def trained(config: TrainConfig, data: DataLayout, layout: Layout, *, name: str, progress: bool) -> LoadedModel:
    """Train, and calibrate on the validation pictures."""
    run = layout.run(name)
    fit(config, data=data, data_hash="", run=run, report=lambda *_: None, progress=progress)
    model = checkpoint.load(run.checkpoint)
    return replace(model, card=calibrate(model, data))


def with_texts_alone(model: LoadedModel, data: DataLayout) -> LoadedModel:
    """The model with the mixture of caption and explanation that serves the validation pictures best."""
    known, pictures = (PictureIndex.build(model, data, split=split) for split in ("train", "val"))
    entities = EntityIndex.build(model, data, pictures=known)
    index = calibrate_index(entities, pictures, scale=model.scale, kinds=("caption", "explanation"))
    return replace(model, card=model.card.model_copy(update={"mixture": index.mixture}))


def evaluated(model: LoadedModel, data: DataLayout) -> EvalReport:
    """Figures of the test pictures."""
    return evaluate(model, data, progress=False)[0]


def by_slice(report: EvalReport, *, index: str) -> dict[str, Any]:
    """R@1 of one index by slice, under the names of the catalogue's long tail."""
    return {key: report.value("R@1", index=index, slice=name) for name, key in SLICE_KEYS.items()}


def main(
    epochs: Annotated[int, typer.Option(min=1, help="36 take less than five minutes on two cores.")] = 36,
    seed: Annotated[int, typer.Option(help="Of weights, batches and augmentation.")] = 0,
    draw: Annotated[int, typer.Option(help="Seed of the catalogue; settings were chosen on 7.")] = 11,
    products: Annotated[int, typer.Option(min=20, help="Products of the catalogue.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Train both models and print their recall by slice as one JSON object, last."""
    started = time.monotonic()
    config = presets.demo().train.model_copy(update={"seed": seed, "epochs": epochs})
    captions_only = config.model_copy(update={"loss": LossConfig(explanation=0, beta=0, eta=0)})
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        data = layout.staging
        count = products + LEFT_OUT
        drawn = CatalogSource(layout.drawn, products=count, seed=draw, faults=False, progress=not as_json)
        source = Catalogued(drawn, products=products)
        ingest(source, staging=data, rejected=layout.rejected("catalog"), progress=not as_json)
        explain(data, writer=SourceWriter(), ledger=layout.ledger)
        plain = evaluated(trained(captions_only, data, layout, name="captions-only", progress=not as_json), data)
        middle = time.monotonic()
        model = trained(config, data, layout, name="whole", progress=not as_json)
        whole, texts = evaluated(model, data), evaluated(with_texts_alone(model, data), data)
        seconds = time.monotonic() - middle
        added = recalled(model, data, source.left_out(), changes=layout.work / "changes")
    if not as_json:
        print(f"\ncaptions only\n{slice_table(plain)}\n\nwhole\n{slice_table(whole)}\n")
    r1 = {"captions_only": by_slice(plain, index="caption")}
    r1 |= {index: by_slice(whole, index=index) for index in ("caption", "explanation", "images", "mixed")}
    r1["texts"] = by_slice(texts, index="mixed")
    answer = {"r1": r1, "added_with_two_pictures": added, "draw": draw, "products": products}
    answer |= {"seconds": round(seconds, 1), "seconds_all": round(time.monotonic() - started, 1)}
    print(json.dumps(answer | {"peak_gib": peak_gib(), "epochs": config.epochs} | facts()))


if __name__ == "__main__":
    typer.run(main)
