"""The picture index: the unit vectors of pictures, and what each of them shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd
from tqdm import tqdm

from entityclip.data import pairs
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import DataLayout, IndexLayout
from entityclip.retrieval.index.approximate import EXACT_ROWS, Approximate, IndexMeasurement
from entityclip.retrieval.index.embedding import CHUNK, decoded, finite
from entityclip.retrieval.index.kept_vectors import kept_vectors
from entityclip.retrieval.vectors import load_index, save_index
from entityclip.schemas import Split

A = TypeVar("A")
B = TypeVar("B")


class MapShards(Protocol):
    """Applies work to each of some things, here or elsewhere, and gives the results in their order; ``map`` is one."""

    def __call__(self, work: Callable[[A], B], things: Iterable[A], /) -> Iterable[B]:
        """Raises what the work raises."""


_PICTURE_COLUMNS = ["pair_id", "entity_id", "entity", "caption", "category", "language", "split"]


@dataclass(frozen=True, eq=False)
class PictureIndex:
    """Pictures of one data version as one model sees them."""

    fingerprint: str
    """Of the model."""
    rows: pd.DataFrame
    """pair_id, entity_id, entity, caption, category, language, split, path."""
    vectors: np.ndarray
    """(N, D) unit rows."""
    approximate: Approximate | None = None
    """The vectors in lists of neighbours, where there are more than ``EXACT_ROWS``."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Hashes of what the model's fingerprint is made of."""

    @classmethod
    def build(
        cls,
        model: LoadedModel,
        data: DataLayout,
        *,
        split: Split | None = None,
        most: int | None = None,
        map_shards: MapShards = map,
        progress: bool = False,
    ) -> PictureIndex:
        """Embed the pictures of one split, or of all; each is decoded once.

        Args:
            model: What sees them.
            data: The data version.
            split: Whose pictures; None for all.
            most: How many at most: a sample that is the same every time.
            map_shards: Embeds shard by shard, in their order; ``map`` does it here.
            progress: Show a bar for each shard.

        Raises:
            DataError: The data are incomplete, or a picture in them cannot be decoded.
            CheckpointError: The model gives vectors that are not finite.
        """
        name = split or "*"
        # Pair ids are hashes, so that the first ones are as good as a random draw.
        ids = pairs.read_frame(data.pairs, name=name, columns=["pair_id"])["pair_id"].sort_values()[:most]
        upto = "" if ids.empty else str(ids.iloc[-1])
        parts = list(map_shards(partial(_embedded, model, upto, progress), pairs.shards(data.pairs, name=name)))
        frame = pd.DataFrame([row for rows, _ in parts for row in rows], columns=[*_PICTURE_COLUMNS, "path"])
        vectors = np.concatenate([np.zeros((0, model.dim), dtype=np.float32), *(found for _, found in parts)])
        return cls(model.card.fingerprint, frame, finite(vectors, model), parts=model.card.parts)

    def of_split(self, split: Split) -> PictureIndex:
        """The pictures of one split, for an exact search."""
        there = (self.rows["split"] == split).to_numpy()
        rows = self.rows[there].reset_index(drop=True)
        return PictureIndex(self.fingerprint, rows, self.vectors[there], parts=self.parts)

    def save(self, layout: IndexLayout, *, queries: np.ndarray | None = None) -> None:
        """Write the index; an older one in its place is replaced.

        Args:
            layout: Where it goes.
            queries: (Q, D) vectors of representative queries; an approximate index is tuned with them and with
                pictures, and its recall for them stands on the index's card.
        """
        card: dict[str, Any] = {"fingerprint": self.fingerprint, "parts": dict(self.parts)}
        approximate = self.approximate
        if approximate is None and len(self.vectors) > EXACT_ROWS:
            approximate = Approximate.build(self.vectors, queries=queries)
        if approximate is not None:
            card["approximate"] = approximate.measured.model_dump()

        def lists(partial: IndexLayout) -> None:
            if approximate is not None:
                approximate.save(partial.approximate)

        save_index(layout, card=card, vectors={"picture": self.vectors}, rows=self.rows, also=lists)

    @classmethod
    def load(cls, layout: IndexLayout, *, fingerprint: str, parts: Mapping[str, str] | None = None) -> PictureIndex:
        """Read the index for the model with this fingerprint; its ``parts`` make a refusal say what differs.

        Raises:
            DataError: The index is missing, half-written or damaged.
            IndexMismatch: Another model made it.
        """
        card, vectors, rows = load_index(layout, kinds=("picture",), fingerprint=fingerprint, parts=parts)
        if "approximate" not in card:
            return cls(fingerprint, rows, vectors["picture"])
        measured = IndexMeasurement.model_validate(card["approximate"])
        return cls(fingerprint, rows, vectors["picture"], Approximate.load(layout.approximate, measured))


def _embedded(model: LoadedModel, upto: str, progress: bool, shard: Path) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The pictures of one shard whose id is not after ``upto``: their rows, and (N, D) their vectors."""
    stored = pairs.iter_shard(shard, columns=[*_PICTURE_COLUMNS, "image.path"])
    rows = [row | {"path": row.pop("image")["path"]} for row in stored if row["pair_id"] <= upto]
    ids = [row["pair_id"] for row in rows]
    return rows, kept_vectors(model, ids, lambda: _vectors(model, shard, upto, len(ids), progress))


def _vectors(model: LoadedModel, shard: Path, upto: str, count: int, progress: bool) -> np.ndarray:
    stored = pairs.iter_shard(shard, columns=[*_PICTURE_COLUMNS, "image"])
    todo = (row for row in stored if row["pair_id"] <= upto)
    chunks = iter(tqdm(todo, total=count, desc=f"embedding {shard.stem}", unit="", disable=not progress))
    vectors = [np.zeros((0, model.dim), dtype=np.float32)]
    while chunk := list(islice(chunks, CHUNK)):
        images = [row.pop("image") for row in chunk]
        vectors.append(model.embed_images(decoded(chunk, images)))
    return np.concatenate(vectors)
