"""The index under load: build time, size, latency and recall.

    python benchmarks/index.py --rows 100000 --json
    python benchmarks/index.py --rows 1000000 --json

Vectors are distributed as those of a model rather than uniformly: categories contain entities, entities contain
pictures, most of the variance is in few directions, and texts have an offset from pictures. Half of the queries are
pictures that are not in the index, half are texts. Recall@10 is relative to exact search. A hybrid query is what
``Predictor.search`` does after the text was embedded: full text, vectors, and a filter that accepts one entity in four.
The target is a recall of 0.99 at a p95 of 20 ms for a million vectors on two cores.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from lib.machine import facts, peak_gib

from entityclip.paths import PackageLayout
from entityclip.retrieval.index import EntityIndex, FullText, PictureIndex, ReleaseIndexes, TextMatches
from entityclip.retrieval.index.approximate import exact
from entityclip.retrieval.index.picture_query import PictureQuery
from entityclip.retrieval.index.query import QueryVectors
from entityclip.retrieval.index.ranking import Question, picture_hits
from entityclip.retrieval.index.snapshot import Snapshot
from entityclip.retrieval.vectors import unit
from entityclip.schemas import Filter

PER_ENTITY = 8
QUESTIONS = 200
CATEGORIES = tuple(f"category-{i}" for i in range(200))
WORDS = ("red", "steel", "pump", "kettle", "wooden", "cup", "青い", "茶碗", "ポンプ", "小型", "陶器", "花瓶")


# ---------------------------------------------------------------- what a model would make
class World:
    """Directions of variation: of categories, entities and pictures, and between texts and pictures."""

    def __init__(self, entities: int, *, dim: int, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        spread = 1 / np.sqrt(1 + np.arange(dim))
        self._spread = (spread / np.linalg.norm(spread)).astype(np.float32)
        self.category = self._rng.integers(len(CATEGORIES), size=entities)
        self.centres = 0.75 * self._drawn(len(CATEGORIES))[self.category] + 0.65 * self._drawn(entities)
        self._offset = 0.8 * self._drawn(1)

    def _drawn(self, count: int) -> np.ndarray:
        return self._rng.standard_normal((count, len(self._spread)), dtype=np.float32) * self._spread

    def pictures(self, owner: np.ndarray) -> np.ndarray:
        """(N,) entities -> (N, D) one picture of each."""
        vectors = np.empty((len(owner), len(self._spread)), np.float32)
        for start in range(0, len(owner), 50_000):
            some = owner[start : start + 50_000]
            vectors[start : start + 50_000] = unit(self.centres[some] + 0.6 * self._drawn(len(some)))
        return vectors

    def texts(self, owner: np.ndarray) -> np.ndarray:
        """(N,) entities -> (N, D) one text about each."""
        return unit(self.centres[owner] + 0.5 * self._drawn(len(owner)) + self._offset)


def entity_rows(world: World, *, seed: int = 0) -> pd.DataFrame:
    """A code, a name and an explanation for each entity."""
    count, rng = len(world.centres), np.random.default_rng(seed)
    words = rng.choice(WORDS, (count, 8))
    return pd.DataFrame(
        {
            "entity_id": [f"e{i}" for i in range(count)],
            "entity": [f"{'KQZ'[i % 3]}X-{i:06d}{'ABCDEF'[i % 6]}" for i in range(count)],
            "aliases": [["".join(some[:3])] for some in words],
            "category": np.array(CATEGORIES)[world.category],
            "language": "ja",
            "explanation": [" ".join(some) for some in words],
            "slice": "few",
            "pictures": PER_ENTITY,
            "has_explanation": True,
            "train_pictures": PER_ENTITY,
        }
    )


# ---------------------------------------------------------------- figures
def times(ask: Callable[[int], object], *, count: int) -> dict[str, float]:
    """Milliseconds of ``count`` sequential queries: wall-clock and processor time."""
    clock, processor = [], []
    for i in range(count):
        started, worked = time.perf_counter(), time.process_time()
        ask(i)
        processor.append(1000 * (time.process_time() - worked))
        clock.append(1000 * (time.perf_counter() - started))
    figures = {"p50_ms": np.median(clock), "p95_ms": np.percentile(clock, 95), "p50_cpu_ms": np.median(processor)}
    return {name: round(float(value), 2) for name, value in figures.items()}


def snapshot_of(world: World, owner: np.ndarray, layout: PackageLayout) -> tuple[Snapshot, FullText, dict[str, float]]:
    """Indexes that were built, saved and loaded, and the seconds of each step."""
    rows, started = entity_rows(world), time.perf_counter()
    captions = world.texts(np.arange(len(rows)))
    entities = EntityIndex("m", rows, {"caption": captions, "explanation": captions, "images": captions}, {}).remixed(
        {}
    )
    shown = pd.DataFrame({"pair_id": [f"p{i}" for i in range(len(owner))], "entity_id": rows["entity_id"].iloc[owner]})
    shown = shown.assign(caption="", path="", entity="").reset_index(drop=True)
    vectors = world.pictures(owner)
    made = time.perf_counter()
    PictureIndex("m", shown, vectors).save(layout.pictures, queries=captions)
    built = time.perf_counter()
    text = FullText.create(rows, None, path=layout.text)
    seconds = {"vectors_s": made - started, "build_s": built - made, "text_build_s": time.perf_counter() - built}
    released = ReleaseIndexes(entities, PictureIndex.load(layout.pictures, fingerprint="m"))
    nothing = PictureIndex("m", shown.iloc[:0], np.zeros_like(vectors[:0]))
    late = EntityIndex("m", rows.iloc[:0], {k: v[:0] for k, v in entities.vectors.items()}, {})
    gone = np.zeros(len(rows), bool), np.zeros(len(owner), bool)
    return Snapshot(released, late, nothing, *gone, released.owner), text, seconds


def recall(snapshot: Snapshot, queries: np.ndarray, where: Filter | None) -> float:
    """Share of the ten nearest accepted vectors that are found."""
    assert snapshot.released.pictures is not None
    vectors = snapshot.released.pictures.vectors
    rows = np.flatnonzero(snapshot.passing(where).pictures)
    true = rows[exact(vectors if where is None else vectors[rows], queries, k=10)]
    found = (PictureQuery(snapshot, query, where).nearest(k=10)[0] for query in queries)
    return sum(len(np.intersect1d(f, t)) for f, t in zip(found, true, strict=True)) / true.size


def main(
    rows: Annotated[int, typer.Option(min=1000, help="Pictures in the index.")] = 100_000,
    dim: Annotated[int, typer.Option(min=8, help="Width of the vectors.")] = 512,
    as_json: Annotated[bool, typer.Option("--json", help="A last line with every figure as JSON.")] = False,
) -> None:
    """Build an index, query it, and compare with exact search."""
    world, rng = World(max(1, rows // PER_ENTITY), dim=dim), np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        layout = PackageLayout(Path(folder))
        snapshot, text, seconds = snapshot_of(world, np.arange(rows) % len(world.centres), layout)
        size = sum(path.stat().st_size for path in layout.root.rglob("*") if path.is_file()) / 2**30
        of = rng.integers(len(world.centres), size=QUESTIONS)
        queries = np.concatenate([world.pictures(of[::2]), world.texts(of[1::2])])
        names = snapshot.rows(of)["entity"].tolist()
        where = Filter(categories=CATEGORIES[: len(CATEGORIES) // 4])

        def hybrid(i: int, where: Filter | None = None) -> object:
            typed = names[i] if i % 2 else " ".join(rng.choice(WORDS, 2))
            exactly = {int(found.entity_id[1:]): found.spelt for found in text.named(typed)}
            texts = {int(e[1:]) for column in ("names", "texts") for e, _ in text.holding(typed, column=column)}
            words = TextMatches(exact=exactly, named=frozenset(texts))
            return picture_hits(snapshot, Question(QueryVectors(text=queries[i]), typed, words, "mixed", 10, where))

        for i in range(20):  # maps the files
            hybrid(i, where)
        vectors = times(lambda i: PictureQuery(snapshot, queries[i], None).nearest(k=10), count=QUESTIONS)
        filtered = times(lambda i: PictureQuery(snapshot, queries[i], where).nearest(k=10), count=QUESTIONS)
        figures: dict[str, Any] = {
            "rows": rows,
            "dim": dim,
            "recall_at_10": round(recall(snapshot, queries, None), 4),
            **vectors,
            "filtered_recall_at_10": round(recall(snapshot, queries, where), 4),
            **{f"filtered_{name}": value for name, value in filtered.items()},
            **{f"hybrid_{name}": value for name, value in times(hybrid, count=QUESTIONS).items()},
            **{f"hybrid_filtered_{k}": v for k, v in times(lambda i: hybrid(i, where), count=QUESTIONS).items()},
            "near_code_ms": times(lambda i: text.nearly(names[i][:-1] + "Z"), count=50)["p50_ms"],
            **{name: round(value, 1) for name, value in seconds.items()},
            "size_gib": round(size, 3),
            "peak_gib": peak_gib(),
        }
    for name, value in figures.items():
        typer.echo(f"{name:26} {value}")
    if as_json:
        typer.echo(json.dumps(figures | facts()))


if __name__ == "__main__":
    typer.run(main)
