"""One catalogue in English, in Japanese and mixed: what the language of the texts does to recall.

    python benchmarks/japanese.py --json
    python benchmarks/japanese.py --products 60 --epochs 8 --json

The drawn catalogue keeps its pictures; its captions and explanations are English, Japanese, or half of each. Each
model has the demo preset's settings, so that each learns its own tokenizer. Figures are R@1 in percent, picture to
entity, mixed index, on test pictures, by how many training pictures the entity has. ``truncated`` is the largest share
of texts that lose their end in any of the models.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from lib.machine import facts, peak_gib

from entityclip.data.ingest import ingest
from entityclip.data.sources.catalog import CatalogSource
from entityclip.data.sources.synthetic.render_photos import Texts
from entityclip.evaluation.calibrate import calibrate
from entityclip.evaluation.evaluate import evaluate
from entityclip.explanations import SourceWriter, explain
from entityclip.model import checkpoint
from entityclip.paths import Layout
from entityclip.schemas import SLICES
from entityclip.training import TrainConfig, presets
from entityclip.training.trainer import fit

SLICE_KEYS = dict(zip(SLICES, ("frequent", "two", "one", "none"), strict=True))
LANGUAGES: tuple[Texts, ...] = ("en", "ja", "both")


def trained_in(texts: Texts, config: TrainConfig, layout: Layout, *, products: int, progress: bool) -> dict[str, Any]:
    """R@1 of the mixed index over all and by slice; what the tokenizer is."""
    source = CatalogSource(layout.drawn, products=products, faults=False, texts=texts, progress=progress)
    data = layout.staging
    ingest(source, staging=data, rejected=layout.rejected("catalog"), progress=progress)
    explain(data, writer=SourceWriter(), ledger=layout.ledger)
    run = layout.run("model")
    fit(config, data=data, data_hash="", run=run, report=lambda *_: None, progress=progress)
    model = checkpoint.load(run.checkpoint)
    report, _ = evaluate(replace(model, card=calibrate(model, data)), data, progress=False)
    slices = {"all": "all", **SLICE_KEYS}
    r1 = {key: report.value("R@1", index="mixed", slice=name) for name, key in slices.items()}
    cut = {name: share for name, share in model.card.metrics.items() if name.startswith("truncated_")}
    learned = {"context": model.card.tokenisation.context, "vocabulary": model.tokenizer.vocabulary}
    return {"r1": r1, "truncated": max(cut.values()), **learned}


def main(
    products: Annotated[int, typer.Option(min=12, help="Of the drawn catalogue.")] = 300,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number than the demo preset's.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, batches and augmentation.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Train in each language and print recall by slice as one JSON object, last."""
    started = time.monotonic()
    config = presets.demo().train.changed(epochs=epochs, seed=seed)
    found = {}
    for texts in LANGUAGES:
        with tempfile.TemporaryDirectory() as folder:
            found[texts] = trained_in(texts, config, Layout(Path(folder)), products=products, progress=not as_json)
    answer: dict[str, Any] = {texts: figures["r1"] for texts, figures in found.items()}
    answer["truncated"] = max(figures["truncated"] for figures in found.values())
    answer["context"] = {texts: figures["context"] for texts, figures in found.items()}
    answer["vocabulary"] = {texts: figures["vocabulary"] for texts, figures in found.items()}
    answer |= {"products": products, "epochs": config.epochs, "seconds": round(time.monotonic() - started, 1)}
    print(json.dumps(answer | {"peak_gib": peak_gib()} | facts()))


if __name__ == "__main__":
    typer.run(main)
