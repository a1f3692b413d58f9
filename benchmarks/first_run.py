"""Share of random texts that the gate of a first run quarantines, without a champion.

    python benchmarks/first_run.py --json
    python benchmarks/first_run.py --source ../shared/grocery --json

A share of the entities gets random texts, all its texts at once, so that no other text of the entity contradicts them:
texts of other entities, texts of siblings in the category, or words in any order. A pretrained image tower and fits on
the other entities judge them (``entityclip/quality/first_batch.py``). Only texts of entities with training or
validation pictures can be judged; ``judged`` is their share. ``--per-entity 1`` keeps one text of each entity.
"""

from __future__ import annotations

import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import pandas as pd
import typer
from lib.machine import facts, peak_gib

from entityclip.data import pairs
from entityclip.data.ingest import ingest
from entityclip.data.sources.catalog import CatalogSource
from entityclip.data.sources.grocery import GrocerySource
from entityclip.explanations import SourceWriter, explain
from entityclip.model.backbones import BackboneConfig, Task, best_at_hand
from entityclip.paths import Layout
from entityclip.quality.first_batch import judge_first_batch
from entityclip.quality.frozen_image_tower import FrozenImageTower
from entityclip.quality.model_scores import EntityPictures, entity_pictures
from entityclip.quality.tower_pictures import PICTURES_EACH

Random = Literal["other", "sibling", "words"]


class FirstRun:
    """A sound batch, the features of its pictures, and what embedding them took."""

    def __init__(self, layout: Layout, source: Path | None, *, products: int, texts: Literal["en", "ja"]) -> None:
        drawn = partial(CatalogSource, layout.drawn, faults=False, products=products, texts=texts)
        opened = GrocerySource(source) if source else drawn()
        ingest(opened, staging=layout.staging, rejected=layout.rejected(opened.name))
        explain(layout.staging, writer=SourceWriter(), ledger=layout.ledger)
        self.texts = pairs.read_frame(layout.staging.explanations)
        self.entities = pairs.read_frame(layout.staging.entities)
        started = time.perf_counter()
        tower = FrozenImageTower(best_at_hand(BackboneConfig(), Task()))
        every = set(self.entities["entity_id"])
        self.pictures: EntityPictures = entity_pictures(tower, layout.staging, every, each=PICTURES_EACH)
        self.seconds, self.tower = time.perf_counter() - started, tower.name

    def planted(
        self, sound: pd.DataFrame, random: Random, *, share: float, seed: int
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """The texts with random ones for a share of the entities, and which these are, (N,) bool."""
        draw, texts = np.random.default_rng(seed), sound["text"].to_numpy(copy=True)
        ids = self.entities["entity_id"].to_numpy()
        bad = sound["entity_id"].isin(draw.permutation(ids)[: round(share * len(ids))]).to_numpy()
        category = sound["entity_id"].map(self.entities.drop_duplicates("entity_id").set_index("entity_id")["category"])
        gap = " " if " " in texts[0] else ""
        words = [word for text in texts for word in (text.split() if gap else text)]
        for row in np.flatnonzero(bad):
            others = (sound["entity_id"] != sound["entity_id"].iloc[row]).to_numpy(copy=True)
            if random == "sibling":
                others &= (category == category.iloc[row]).to_numpy()
            if random == "words":
                texts[row] = gap.join(draw.choice(words, len(texts[row].split()) if gap else len(texts[row])))
            elif others.any():
                texts[row] = sound["text"].iloc[draw.choice(np.flatnonzero(others))]
        return sound.assign(text=texts), bad

    def judged(self, texts: pd.DataFrame, bad: np.ndarray) -> dict[str, Any]:
        """Percent of the random and of the sound texts that are below the limit, of those that can be judged."""
        started = time.perf_counter()
        found = judge_first_batch(texts, self.entities, self.pictures)
        seconds = time.perf_counter() - started
        known, aside = np.isfinite(found.contrast), found.contrast < found.limit
        return {
            "caught": percent(aside[known & bad]),
            "false_alarms": percent(aside[known & ~bad]),
            "judged": percent(known),
            "median_contrast": round(float(np.median(found.contrast[known])), 2) if known.any() else None,
            "limit": None if found.why_not else round(found.limit, 2),
            "why_not": found.why_not,
            "unrelated": found.unrelated,
            "seconds": round(seconds, 1),
        }


def percent(hits: np.ndarray) -> float | None:
    """Of (N,) bool; None of nothing."""
    return round(100 * float(hits.mean()), 1) if len(hits) else None


def main(
    source: Annotated[
        Path | None, typer.Option(help="Folder of the Grocery Store data set; else the catalogue.")
    ] = None,
    products: Annotated[int, typer.Option(help="Products of the catalogue.")] = 300,
    texts: Annotated[str, typer.Option(help="Language of the catalogue's texts: en or ja.")] = "en",
    share: Annotated[float, typer.Option(help="Share of the entities that get random texts.")] = 40 / 300,
    per_entity: Annotated[int | None, typer.Option(help="Texts of each entity that are kept.")] = None,
    seeds: Annotated[int, typer.Option(help="Draws of the random texts.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Plant, judge, count; print one JSON object last."""
    with tempfile.TemporaryDirectory() as folder:
        batch = FirstRun(Layout(Path(folder)), source, products=products, texts="ja" if texts == "ja" else "en")
    sound = batch.texts.groupby("entity_id", sort=False).head(per_entity or len(batch.texts)).reset_index(drop=True)
    found = {"sound": [batch.judged(sound, np.zeros(len(sound), bool))]}
    for random in get_args(Random):
        found[random] = [batch.judged(*batch.planted(sound, random, share=share, seed=seed)) for seed in range(seeds)]
    if not as_json:
        print(pd.DataFrame([{"random": name, **one} for name, some in found.items() for one in some]))
    counts = {"entities": len(batch.entities), "texts": len(sound), "pictures": len(batch.pictures.owners)}
    cost = {"tower": batch.tower, "picture_seconds": round(batch.seconds, 1), "peak_gib": peak_gib()}
    print(json.dumps({"judges": found, "share": round(share, 3), **counts, **cost, **facts()}))


if __name__ == "__main__":
    typer.run(main)
