"""Few pictures of each product: the preset ``photos`` against nearest pictures, a linear probe and Tip-Adapter.

    python benchmarks/few.py --source ../shared/grocery --json

1, 2, 5 and 10 training pictures of each product, drawn by seed; photographs of the grocery, and the drawn catalogue.
The queries are the grocery's ``val.txt`` and the catalogue's test pictures. All four read the same packaged tower; the
three rivals do not train it. Nothing is chosen here: with so few pictures there are none to choose on.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from lib import photo_baselines as baselines
from lib.machine import facts, peak_gib
from photos import read

from entityclip.data.sources.base import EntityRow, PictureRow, Source
from entityclip.data.sources.catalog import CatalogSource
from entityclip.data.sources.grocery import GrocerySource
from entityclip.evaluation.evaluate import evaluate
from entityclip.model import checkpoint
from entityclip.model.backbones import BackboneConfig, Choice, Task, best_at_hand
from entityclip.paths import DataLayout, DecodedLayout, Layout
from entityclip.schemas import Rejection
from entityclip.training import presets
from entityclip.training.trainer import fit

COUNTS = (1, 2, 5, 10)
"""Training pictures of each product."""
RIVALS = {"nearest": baselines.nearest, "linear": baselines.linear, "tip_adapter": baselines.tip_adapter}


class FewPictures:
    """``count`` training pictures of each product that has ten; the pictures of one other split are the queries."""

    def __init__(self, source: Source, *, queries: str, count: int, seed: int) -> None:
        self.source, self.name, self.language = source, source.name, source.language
        self._rows = [row for row in source.pictures() if isinstance(row, PictureRow)]
        products: dict[str, list[PictureRow]] = defaultdict(list)
        for row in self._rows:
            if row.split == "train":
                products[row.entity].append(row)
        rng = np.random.default_rng((seed, count))
        self.products = {name for name, rows in products.items() if len(rows) >= max(COUNTS)}
        drawn = {name: rng.choice(len(products[name]), size=count, replace=False) for name in sorted(self.products)}
        self.train = [products[name][i] for name in drawn for i in sorted(drawn[name])]
        self.queries = [row for row in self._rows if row.split == queries and row.entity in self.products]

    def __len__(self) -> int:
        return len(self.train) + len(self.queries)

    def fingerprint(self) -> str:
        """Not needed: the data are read once."""
        return self.source.fingerprint()

    def entities(self) -> Iterator[EntityRow | Rejection]:
        """The products that have pictures here."""
        for row in self.source.entities():
            if isinstance(row, EntityRow) and row.entity in self.products:
                yield row

    def pictures(self) -> Iterator[PictureRow | Rejection]:
        """The drawn training pictures, then the queries as the split 'test'."""
        yield from self.train
        yield from (replace(row, split="test") for row in self.queries)


def answers(
    source: Source, queries: str, backbone: Choice, *, count: int, seed: int, minutes: float
) -> dict[str, np.ndarray]:
    """Method -> (Q,) right or wrong."""
    with tempfile.TemporaryDirectory() as folder:
        layout, cache = Layout(Path(folder)), DecodedLayout(Path(folder) / "cache")
        data = read(FewPictures(source, queries=queries, count=count, seed=seed), layout)
        test = baselines.photographs(data, "test", side=256, cache=cache)
        train = baselines.photographs(data, "train", side=256, cache=cache)
        tower = baselines.Tower(backbone)
        vectors, seen = tower.vectors(train), tower.vectors(test)
        right = {name: rival(vectors, train.products, seen) == test.products for name, rival in RIVALS.items()}
        return right | {"photos": _photos(backbone, data, layout, test.pair_ids, seed=seed, minutes=minutes)}


def _photos(
    backbone: Choice, data: DataLayout, layout: Layout, queries: np.ndarray, *, seed: int, minutes: float
) -> np.ndarray:
    config = presets.photos(backbone).train.changed(minutes=minutes, seed=seed)
    run = layout.run("photos")
    fit(config, data=data, data_hash="", run=run, report=lambda *_: None, progress=False)
    table = evaluate(checkpoint.load(run.checkpoint), data, split="test", progress=False)[1]
    mixed = table[(table["index"] == "mixed") & (table["direction"] == "image_to_text")].set_index("pair_id")
    return (mixed["rank"] == 1).loc[queries].to_numpy()


def compared(source: Source, queries: str, backbone: Choice, *, seeds: int, minutes: float) -> dict[str, Any]:
    """By number of pictures: R@1 of each method, and how far ``photos`` is ahead of the others, with intervals."""
    table: dict[str, Any] = {}
    for count in COUNTS:
        rows = [answers(source, queries, backbone, count=count, seed=s, minutes=minutes) for s in range(seeds)]
        stacked = {name: [row[name] for row in rows] for name in rows[0]}
        table[str(count)] = {f"{name}_r1": round(100 * float(np.mean(right)), 1) for name, right in stacked.items()}
        ours = np.stack(stacked["photos"])
        ahead = {name: baselines.difference(ours, np.stack(stacked[name])) for name in RIVALS}
        table[str(count)]["ahead_of"] = ahead
    return table


def main(
    source: Annotated[Path, typer.Option(help="Folder of the Grocery Store data set.")] = Path("../shared/grocery"),
    minutes: Annotated[float, typer.Option(help="For each training of the preset.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="Draws of pictures and trainings.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="One seed: to see that it runs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Recall at the first place by number of training pictures, as one JSON object, last."""
    started, backbone, seeds = time.monotonic(), best_at_hand(BackboneConfig(), Task()), 1 if quick else seeds
    answer: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        drawn = CatalogSource(Path(folder) / "drawn", faults=False, progress=False)
        for name, rows, queries in (("grocery", GrocerySource(source), "val"), ("drawn", drawn, "test")):
            answer[name] = compared(rows, queries, backbone, seeds=seeds, minutes=minutes)
            if not as_json:
                print(name, json.dumps(answer[name], indent=2))
    answer |= {"backbone": backbone.name, "minutes": minutes, "seeds": seeds}
    answer |= {"seconds": round(time.monotonic() - started, 1), "peak_gib": peak_gib()}
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
