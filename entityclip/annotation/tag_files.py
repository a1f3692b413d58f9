"""Tags files with a model in this process, at the rate of its towers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from entityclip.annotation.picture_files import PictureFile
from entityclip.data.images import opened
from entityclip.errors import ImageError
from entityclip.retrieval import tagging
from entityclip.retrieval.index import Snapshot
from entityclip.retrieval.index.query import QueryVectors
from entityclip.retrieval.predictor import Predictor
from entityclip.retrieval.tagging import PRECISION, TAGS, Shown
from entityclip.schemas import Annotation, Tag


@dataclass(frozen=True, eq=False)
class _Read:
    """A file as the model takes it, or why it cannot."""

    square: np.ndarray | None = None
    width: int = 0
    height: int = 0
    problem: str = ""


class PredictorTagger:
    """Tags files as ``Predictor.tag`` does, one picture for each answer.

    Args:
        predictor: Model and indexes.
        k: Tags for each picture.
        precision: Target precision of sure tags.
        release: Name of the release in the annotations; by default the model's fingerprint.

    Raises:
        ConfigError: ``precision`` was not calibrated.
    """

    def __init__(self, predictor: Predictor, *, k: int = TAGS, precision: float = PRECISION, release: str = "") -> None:
        self._predictor, self._k = predictor, k
        self._bar = tagging.bar_of(predictor.model.card, precision)
        self.model = predictor.model.card.fingerprint
        self._release = release or self.model

    def annotate(self, items: Sequence[PictureFile]) -> list[Annotation]:
        """One annotation for each file; files are decoded by several threads, and embedded together."""
        with ThreadPoolExecutor() as pool:
            read = list(pool.map(self._read, items))
        found = iter(self.tags([one.square for one in read if one.square is not None]))
        snapshot = self._predictor.catalog.now()
        return [
            Annotation(file=item.name, release=self._release, problem=one.problem)
            if one.square is None
            else self._annotation(item, one, next(found), snapshot)
            for item, one in zip(items, read, strict=True)
        ]

    def square(self, picture: Image.Image) -> np.ndarray:
        """(3, S, S) uint8 as ``tags`` takes it."""
        return self._predictor.model.card.preprocessing.square(picture)

    def tags(self, squares: Sequence[np.ndarray]) -> list[list[Tag]]:
        """Tags of pictures that ``square`` prepared, best first."""
        vectors = self._predictor.model.embed_squares(squares)
        snapshot = self._predictor.catalog.now()
        return [self._tags(vector, snapshot) for vector in vectors]

    def _tags(self, vector: np.ndarray, snapshot: Snapshot) -> list[Tag]:
        similarities = snapshot.similarities(QueryVectors(picture=vector), "mixed")
        shown = Shown((), vector)
        return tagging.tags(self._predictor.model, snapshot, similarities, shown, k=self._k, bar=self._bar)

    def _read(self, item: PictureFile) -> _Read:
        if item.problem:
            return _Read(problem=item.problem)
        try:
            with opened(item.read()) as picture:
                return _Read(self.square(picture), picture.width, picture.height)
        except ImageError as error:
            return _Read(problem=error.reason)

    def _annotation(self, item: PictureFile, read: _Read, tags: list[Tag], snapshot: Snapshot) -> Annotation:
        return Annotation(
            file=item.name,
            width=read.width,
            height=read.height,
            release=self._release,
            tags=tuple(tags),
            explanation=_explanation(snapshot, tags[0].entity_id) if tags else "",
        )


def _explanation(snapshot: Snapshot, entity_id: str) -> str:
    number = snapshot.number_of(entity_id)
    return "" if number is None else str(snapshot.entity_rows(np.array([number]))[0]["explanation"] or "")
