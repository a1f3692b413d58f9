"""Labels in pictures: how often a printed code is read, how often it is right, and what reading does to recall.

    python benchmarks/labels.py --json
    python benchmarks/labels.py --products 60 --epochs 8 --queries 20 --json

A model with the demo preset's settings learns the drawn catalogue at its usual 96 pixels. Queries are test pictures at
384 pixels with a sticker: code, trade name in Japanese or English, size. By slice: a readable sticker, one that is too
small and blurred, none, one of another product, and one with a code that no product has. Figures are percent, but for
``code_precision``, a share, and ``p95_ms``, the time to read one picture. ``sure``: any tag is above the threshold;
``sure_wrong``: one that is not the product. The thresholds are calibrated on pictures without stickers.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from lib.machine import facts, peak_gib
from lib.stickers import SLICES, StickerQuery, queries

from entityclip.data.ingest import ingest
from entityclip.data.labels import LabelReader, reader_version
from entityclip.data.sources.catalog import CatalogSource
from entityclip.data.sources.synthetic.products import invent
from entityclip.evaluation.calibrate import calibrate
from entityclip.explanations import SourceWriter, explain
from entityclip.model import checkpoint
from entityclip.paths import Layout
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import Tag
from entityclip.training import presets
from entityclip.training.trainer import fit

STRANGERS = 100


@dataclass(frozen=True)
class TaggedSticker:
    """One query, tagged without and with its labels."""

    query: StickerQuery
    plain: list[Tag]
    read: list[Tag]
    seconds: float
    """For reading."""

    def hit(self, tags: Sequence[Tag]) -> bool:
        """Whether the first tag is the product."""
        return tags[0].entity == self.query.code

    def wrong(self, tags: Sequence[Tag]) -> bool:
        """Whether a tag that is not the product is above the threshold."""
        return any(tag.above_threshold and tag.entity != self.query.code for tag in tags)

    @property
    def by_code(self) -> list[str]:
        """Entities that have an exact label."""
        return [tag.entity for tag in self.read if any(why.by == "label" and tag.entity in why.text for why in tag.why)]


def trained(layout: Layout, *, products: int, seed: int, epochs: int | None, progress: bool) -> Predictor:
    """A predictor on the drawn catalogue, calibrated."""
    source = CatalogSource(layout.drawn, products=products, seed=seed, faults=False, progress=progress)
    data = layout.staging
    ingest(source, staging=data, rejected=layout.rejected("catalog"), progress=progress)
    explain(data, writer=SourceWriter(), ledger=layout.ledger)
    run = layout.run("model")
    config = presets.demo().train.changed(epochs=epochs)
    fit(config, data=data, data_hash="", run=run, report=lambda *_: None, progress=progress)
    model = checkpoint.load(run.checkpoint)
    model = replace(model, card=calibrate(model, data))
    pictures = PictureIndex.build(model, data, progress=progress)
    return Predictor(model, EntityIndex.build(model, data, pictures=pictures, progress=progress), pictures)


def tagged(predictor: Predictor, query: StickerQuery, reader: LabelReader) -> TaggedSticker:
    """The query, tagged twice."""
    started = time.monotonic()
    labels = reader.read(query.picture).labels
    seconds = time.monotonic() - started
    return TaggedSticker(query, predictor.tag(query.picture), predictor.tag(query.picture, labels=labels), seconds)


def _sure(tags: Sequence[Tag]) -> bool:
    return any(tag.above_threshold for tag in tags)


def _percent(found: Sequence[bool]) -> float:
    return round(100 * float(np.mean(found)), 1)


def figures(outcomes: Sequence[TaggedSticker]) -> dict[str, Any]:
    """All figures, by slice where they have one."""
    by_slice = {name: [o for o in outcomes if o.query.slice == name] for name in SLICES}
    true_labels = [o for o in outcomes if o.query.slice not in ("wrong label", "unknown code")]
    hits = [entity == o.query.code for o in true_labels for entity in o.by_code]
    return {
        "code_read": _percent([o.query.code in o.by_code for o in by_slice["readable"]]),
        "code_precision": round(float(np.mean(hits)), 4) if hits else None,
        "code_hits": len(hits),
        "r1_without": {name: _percent([o.hit(o.plain) for o in some]) for name, some in by_slice.items()},
        "r1_with": {name: _percent([o.hit(o.read) for o in some]) for name, some in by_slice.items()},
        "sure_without": {name: _percent([_sure(o.plain) for o in some]) for name, some in by_slice.items()},
        "sure_with": {name: _percent([_sure(o.read) for o in some]) for name, some in by_slice.items()},
        "sure_wrong_without": {name: _percent([o.wrong(o.plain) for o in some]) for name, some in by_slice.items()},
        "sure_wrong_with": {name: _percent([o.wrong(o.read) for o in some]) for name, some in by_slice.items()},
        "p95_ms": round(1000 * float(np.quantile([o.seconds for o in outcomes], 0.95))),
        "p50_ms": round(1000 * float(np.quantile([o.seconds for o in outcomes], 0.5))),
    }


def main(
    products: Annotated[int, typer.Option(min=12, help="Of the drawn catalogue.")] = 120,
    count: Annotated[int, typer.Option("--queries", min=1, help="Pictures of each slice.")] = 100,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number than the demo preset's.")] = None,
    seed: Annotated[int, typer.Option(help="Of the catalogue and the stickers.")] = 7,
    threads: Annotated[int | None, typer.Option(min=1, help="Of the reader; default: all cores.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Train on the drawn catalogue, tag pictures with stickers, and print the figures as one JSON object, last."""
    started = time.monotonic()
    reader, known = LabelReader(threads=threads), invent(products + STRANGERS, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        predictor = trained(Layout(Path(folder)), products=products, seed=seed, epochs=epochs, progress=not as_json)
        pictures = queries(known[:products], known[products:], count=count, seed=seed)
        outcomes = [tagged(predictor, query, reader) for query in pictures]
    answer = figures(outcomes) | {"products": products, "queries": count, "reader": reader_version()}
    print(json.dumps(answer | {"seconds": round(time.monotonic() - started, 1), "peak_gib": peak_gib()} | facts()))


if __name__ == "__main__":
    typer.run(main)
