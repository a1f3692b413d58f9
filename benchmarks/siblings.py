"""Batches in which siblings stand side by side: which share of them pays, on frozen features and paired seeds.

    python benchmarks/siblings.py --json

The image tower of the best backbone on this machine does not learn, so that its features are computed once for all
trainings; heads, text tower and experts learn from them on the drawn catalogue. Every share is trained with the same
seeds, which decide weights, rows and augmentation. The share is chosen on validation pictures, by R@1 of the caption
and explanation index, and compared with no siblings on test pictures.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from lib import photo_baselines as baselines
from lib.machine import facts, peak_gib

from entityclip.data.ingest import ingest
from entityclip.data.sources.catalog import CatalogSource
from entityclip.explanations import SourceWriter, explain
from entityclip.model import checkpoint
from entityclip.model.backbones import BackboneConfig, Choice, Task, best_at_hand
from entityclip.paths import DataLayout, Layout
from entityclip.retrieval import metrics
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.schemas import IndexKind, Split
from entityclip.training import TrainConfig, presets
from entityclip.training.config import Adaptation
from entityclip.training.trainer import fit

SHARES = (0.0, 0.25, 0.5, 0.75)
KINDS: tuple[IndexKind, ...] = ("caption", "explanation", "images", "mixed")
SPLITS: tuple[Split, ...] = ("val", "test")
CHOSEN_BY = ("caption", "explanation")
"""What batches teach directly; the mixture is the default one in all trainings."""


def settings(backbone: Choice, *, epochs: int) -> TrainConfig:
    """The preset ``photos`` without its training of the image tower."""
    text = "all" if backbone.towers.text_weights is None and backbone.towers.pretrained is None else "same"
    frozen = Adaptation.model_validate({"towers": "none", "text": text, "views": 2, "probe_epochs": 0})
    return presets.photos(backbone).train.model_copy(update={"adaptation": frozen, "epochs": epochs, "minutes": None})


def answers(config: TrainConfig, data: DataLayout, layout: Layout) -> dict[tuple[str, str], np.ndarray]:
    """Split and index -> (Q,) whether each query is right, in the order of the data."""
    run = layout.run(f"{config.siblings}-{config.seed}")
    fit(config, data=data, data_hash="", run=run, report=lambda *_: None, decoded=layout.decoded, progress=False)
    model = checkpoint.load(run.checkpoint)
    known = PictureIndex.build(model, data, split="train")
    entities = EntityIndex.build(model, data, pictures=known)
    right: dict[tuple[str, str], np.ndarray] = {}
    for split in SPLITS:
        pictures = PictureIndex.build(model, data, split=split)
        truth = entities.rows_of(pictures.rows["entity_id"])
        for kind in KINDS:
            ranked = metrics.ranks(pictures.vectors, entities.vectors[kind], truth, offset=entities.offsets[kind])
            right[split, kind] = ranked.rank == 1
    return right


def compared(found: dict[float, list[dict[tuple[str, str], np.ndarray]]]) -> dict[str, Any]:
    """R@1 by share, split and index, and points that each share gains over none, with paired intervals."""
    stacked = {share: {key: np.stack([run[key] for run in runs]) for key in runs[0]} for share, runs in found.items()}
    table: dict[str, Any] = {}
    for share, right in stacked.items():
        table[str(share)] = {
            split: {
                kind: {"r1": round(100 * float(right[split, kind].mean()), 1)}
                | ({"gain": baselines.difference(right[split, kind], stacked[0.0][split, kind])} if share else {})
                for kind in KINDS
            }
            for split in SPLITS
        }
    return table


def chosen(table: dict[str, Any]) -> str:
    """The share with the highest R@1 on validation pictures."""
    return max(table, key=lambda share: sum(table[share]["val"][kind]["r1"] for kind in CHOSEN_BY))


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Trainings with each share.")] = 10,
    epochs: Annotated[int, typer.Option(min=1, help="Of each training.")] = 12,
    products: Annotated[int, typer.Option(min=20, help="Drawn products.")] = 300,
    draw: Annotated[int, typer.Option(help="Seed of the catalogue.")] = 11,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Train with each share and seed; recall and paired gains as one JSON object, last."""
    started, backbone = time.monotonic(), best_at_hand(BackboneConfig(), Task())
    found: dict[float, list[dict[tuple[str, str], np.ndarray]]] = {share: [] for share in SHARES}
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        data = layout.staging
        source = CatalogSource(layout.drawn, products=products, seed=draw, faults=False, progress=False)
        ingest(source, staging=data, rejected=layout.rejected("catalog"), progress=False)
        explain(data, writer=SourceWriter(), ledger=layout.ledger, progress=False)
        config = settings(backbone, epochs=epochs)
        for seed in range(seeds):
            for share in SHARES:
                found[share].append(answers(config.changed(siblings=share, seed=seed), data, layout))
            if not as_json:
                print(f"seed {seed}", json.dumps(compared({s: [runs[-1]] for s, runs in found.items()})), flush=True)
    table = compared(found)
    answer = {"shares": table, "chosen": float(chosen(table)), "seeds": seeds, "epochs": epochs, "draw": draw}
    answer |= {"products": products, "backbone": backbone.name, "seconds": round(time.monotonic() - started, 1)}
    print(json.dumps(answer | {"peak_gib": peak_gib()} | facts()))


if __name__ == "__main__":
    typer.run(main)
