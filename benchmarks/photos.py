"""Real photographs with the packaged tower: the preset ``photos`` against what anybody could write in an hour.

    python benchmarks/photos.py --source ../shared/grocery --minutes 20 --json

Everything is chosen on ``train.txt``: the last pictures of each product calibrate. Some are from the series of the
others, so that they are easier than the queries.
``val.txt``, and ``test.txt`` where the folder has one, are opened once, at the end. Plain fine-tuning has the same
minutes as the preset; nearest pictures and logistic regression read the untrained tower.
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
import pandas as pd
import typer
from lib import photo_baselines as baselines
from lib.machine import facts, peak_gib

from entityclip.data.ingest import ingest
from entityclip.data.pairs import require_complete
from entityclip.data.sources.base import EntityRow, PictureRow, Source
from entityclip.data.sources.grocery import GrocerySource
from entityclip.evaluation.calibrate import calibrate
from entityclip.evaluation.evaluate import evaluate
from entityclip.explanations import SourceWriter, explain
from entityclip.model import checkpoint
from entityclip.model.backbones import BackboneConfig, Choice, Task, best_at_hand
from entityclip.paths import DataLayout, DecodedLayout, Layout
from entityclip.schemas import Rejection, Split
from entityclip.training import presets
from entityclip.training.trainer import fit

HELD_OUT = 0.12
"""Share of a product's training pictures, the last ones in order, that calibrate."""
SPLITS: tuple[Split, ...] = ("val", "test")
Answers = dict[str, dict[str, np.ndarray]]
"""Method -> split -> (Q,) right or wrong."""


class TrainAlone:
    """The training pictures of a source; the last ones of each product are for calibration."""

    def __init__(self, source: Source) -> None:
        self.source, self.name, self.language = source, source.name, source.language

    def __len__(self) -> int:
        return len(self.source)

    def fingerprint(self) -> str:
        """That of the source, and of the split."""
        return f"{self.source.fingerprint()}-{HELD_OUT}"

    def entities(self) -> Iterator[EntityRow | Rejection]:
        """As in the source."""
        return self.source.entities()

    def pictures(self) -> Iterator[PictureRow | Rejection]:
        """Training pictures; their numbers in a product decide the split."""
        rows = [row for row in self.source.pictures() if isinstance(row, PictureRow) and row.split == "train"]
        products = defaultdict(list)
        for row in rows:
            products[row.entity].append(row.row)
        last = {row for found in products.values() for row in found[-max(1, round(HELD_OUT * len(found))) :]}
        for row in rows:
            yield replace(row, split="val" if row.row in last else "train")


def read(source: Source, layout: Layout) -> DataLayout:
    """The source as a data version with its own texts."""
    ingest(source, staging=layout.staging, rejected=layout.rejected("photos"), progress=False)
    explain(layout.staging, writer=SourceWriter(), ledger=layout.ledger, progress=False)
    return layout.staging


def photos(
    backbone: Choice, learned: DataLayout, complete: DataLayout, layout: Layout, *, minutes: float, seed: int
) -> tuple[dict[str, pd.Series], dict[str, Any]]:
    """Whether the preset's mixed index is right, by split and query; and the plan and figures of its training."""
    config = presets.photos(backbone).train.changed(minutes=minutes, seed=seed)
    run = layout.run(f"photos-{seed}")
    card = fit(config, data=learned, data_hash="", run=run, report=lambda *_: None, progress=False)
    model = checkpoint.load(run.checkpoint)
    model = replace(model, card=calibrate(model, learned))
    counts = require_complete(complete)
    right: dict[str, pd.Series] = {}
    for split in (name for name in SPLITS if counts.get(name)):
        table = evaluate(model, complete, split=split, cross_fit=False, progress=False)[1]
        ours = table[(table["index"] == "mixed") & (table["direction"] == "image_to_text")].set_index("pair_id")
        right[split] = ours["rank"] == 1
    return right, {"plan": json.loads(run.plan.read_text()), "seconds": round(card.metrics["seconds"], 1)}


def untrained(backbone: Choice, train: baselines.Photographs, by_split: dict[str, baselines.Photographs]) -> Answers:
    """Nearest pictures and logistic regression on the backbone as it is."""
    tower = baselines.Tower(backbone)
    vectors = tower.vectors(train)
    answers: Answers = {"nearest": {}, "linear": {}}
    for split, queries in by_split.items():
        seen = tower.vectors(queries)
        answers["nearest"][split] = baselines.nearest(vectors, train.products, seen) == queries.products
        answers["linear"][split] = baselines.linear(vectors, train.products, seen) == queries.products
    return answers


def main(
    source: Annotated[Path, typer.Option(help="Folder of the Grocery Store data set.")],
    minutes: Annotated[float, typer.Option(help="For each training: the preset's, and plain fine-tuning.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each kind.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="One seed and one minute: to see that it runs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Train the preset and its rivals; recall at the first place in percent, paired, as one JSON object, last."""
    minutes, seeds = (1, 1) if quick else (minutes, seeds)
    started, backbone = time.monotonic(), best_at_hand(BackboneConfig(), Task())
    ours: list[dict[str, np.ndarray]] = []
    tuned: list[dict[str, np.ndarray]] = []
    with tempfile.TemporaryDirectory() as folder:
        root, grocery = Path(folder), GrocerySource(source)
        learned = read(TrainAlone(grocery), Layout(root / "learned"))
        complete = read(grocery, Layout(root / "complete"))
        counts, cache = require_complete(complete), DecodedLayout(root / "cache")
        splits: list[Split] = [split for split in SPLITS if counts.get(split)]
        queries: dict[str, baselines.Photographs] = {
            split: baselines.photographs(complete, split, side=256, cache=cache) for split in splits
        }
        train = baselines.photographs(complete, "train", side=256, cache=cache)
        trainings = []
        for seed in range(seeds):
            right, training = photos(backbone, learned, complete, Layout(root / "learned"), minutes=minutes, seed=seed)
            ours.append({split: right[split].loc[queries[split].pair_ids].to_numpy() for split in splits})
            trainings.append(training)
            guessed = baselines.finetuned(backbone, train, queries, seconds=60 * minutes, seed=seed)
            tuned.append({split: guessed[split] == queries[split].products for split in splits})
            if not as_json:
                print(f"seed {seed}: photos {_percent(ours, 'val')}, fine-tuning {_percent(tuned, 'val')} on val")
        rivals = {name: [answers] * seeds for name, answers in untrained(backbone, train, queries).items()}
    rivals["finetune"] = tuned
    answer: dict[str, Any] = {f"{split}_r1": _percent(ours, split) for split in splits}
    answer |= {f"{name}_r1": _percent(rows, "val") for name, rows in rivals.items()}
    answer |= {f"{name}_test_r1": _percent(rows, "test") for name, rows in rivals.items() if "test" in splits}
    answer["ahead_of"] = {
        split: {
            name: baselines.difference(np.stack([r[split] for r in ours]), np.stack([r[split] for r in rows]))
            for name, rows in rivals.items()
        }
        for split in splits
    }
    answer |= {"backbone": backbone.name, "minutes": minutes, "seeds": seeds, "trainings": trainings}
    answer |= {"by_seed": {split: [_percent([r], split) for r in ours] for split in splits}}
    answer |= {"seconds": round(time.monotonic() - started, 1), "peak_gib": peak_gib()}
    print(json.dumps(answer | facts()))


def _percent(rows: list[dict[str, np.ndarray]], split: str) -> float:
    return round(100 * float(np.mean([row[split] for row in rows])), 1)


if __name__ == "__main__":
    typer.run(main)
