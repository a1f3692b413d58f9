"""Tags files with a model in this process, at the rate of its towers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from entityclip.annotation.annotate import CHUNK, READ_CHUNK
from entityclip.annotation.file_labels import FileLabels
from entityclip.annotation.picture_files import PictureFile
from entityclip.annotation.regions import Box, crops, regions
from entityclip.data.images import opened
from entityclip.errors import ImageError
from entityclip.retrieval import tagging
from entityclip.retrieval.index import Snapshot
from entityclip.retrieval.index.query import QueryVectors
from entityclip.retrieval.predictor import Predictor
from entityclip.retrieval.tagging import PRECISION, TAGS, Shown
from entityclip.schemas import Annotation, Label, Reading, Tag

WINDOWED = 4
"""Files whose windows are embedded together: three to six hundred squares each."""


@dataclass(frozen=True, eq=False)
class _Read:
    """A file as the model takes it, or why it cannot."""

    squares: Sequence[np.ndarray] = ()
    """The whole picture, then its windows."""
    boxes: Sequence[Box] = ()
    """Where they are; none where no regions are wanted."""
    width: int = 0
    height: int = 0
    problem: str = ""
    reading: Reading | None = None
    """What is printed on it; None where labels were not read."""

    @property
    def labels(self) -> tuple[Label, ...]:
        return () if self.reading is None else self.reading.labels


class PredictorTagger:
    """Tags files as ``Predictor.tag`` does, one picture for each answer.

    Args:
        predictor: Model and indexes.
        k: Tags for each picture.
        precision: Target precision of sure tags.
        regions: Whether to look where in a picture entities are, which takes some hundred times as long.
        labels: Reads labels, whose codes and names then count as in ``Predictor.tag``; None: labels are not read.
        release: Name of the release in the annotations; by default the model's fingerprint.

    Raises:
        ConfigError: ``precision`` was not calibrated.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        k: int = TAGS,
        precision: float = PRECISION,
        regions: bool = False,
        labels: FileLabels | None = None,
        release: str = "",
    ) -> None:
        self._predictor, self._k, self._regions, self._labels = predictor, k, regions, labels
        self.chunk = CHUNK if labels is None else READ_CHUNK
        # One is decoded and embedded, without Python's lock, while the index is searched for the other. A reader has
        # all cores, and the time of a picture.
        self.chunks_at_once = 2 if labels is None else 1
        self._bar = tagging.bar_of(predictor.model.card, precision)
        self.model = predictor.model.card.fingerprint
        self._release = release or self.model

    def annotate(self, items: Sequence[PictureFile]) -> list[Annotation]:
        """One annotation for each file; files are decoded by several threads, and embedded together."""
        together = WINDOWED if self._regions else len(items)
        with ThreadPoolExecutor() as pool:
            starts = range(0, len(items), max(1, together))
            return [one for start in starts for one in self._together(items[start : start + together], pool)]

    def _together(self, items: Sequence[PictureFile], pool: ThreadPoolExecutor) -> Iterator[Annotation]:
        read = self._with_labels(items, list(pool.map(self._read, items)))
        squares = [square for one in read for square in one.squares]
        # What is printed is compared with the whole picture, the first of its squares.
        labels = [() if number else one.labels for one in read for number in range(len(one.squares))]
        tags = self.tags(squares, labels)
        found, first = iter(tags), {some[0].entity_id for some in tags if some}
        explanations = _explanations(self._predictor.catalog.now(), first)
        for item, one in zip(items, read, strict=True):
            if one.problem:
                yield Annotation(file=item.name, release=self._release, problem=one.problem)
            else:
                yield self._annotation(item, one, [next(found) for _ in one.squares], explanations)

    def _with_labels(self, items: Sequence[PictureFile], read: list[_Read]) -> list[_Read]:
        if self._labels is None:
            return read
        usable = [item for item, one in zip(items, read, strict=True) if not one.problem]
        readings = iter(list(self._labels.of(usable)))
        return [one if one.problem else replace(one, reading=next(readings)) for one in read]

    def square(self, picture: Image.Image) -> np.ndarray:
        """(3, S, S) uint8 as ``tags`` takes it."""
        return self._predictor.model.card.preprocessing.square(picture)

    def tags(self, squares: Sequence[np.ndarray], labels: Sequence[Sequence[Label]] = ()) -> list[list[Tag]]:
        """Tags of pictures that ``square`` prepared, best first; ``labels`` are those on each, if they were read."""
        vectors = self._predictor.model.embed_squares(squares)
        snapshot = self._predictor.catalog.now()
        similarities = (snapshot.similarities(QueryVectors(picture=vector), "mixed") for vector in vectors)
        printed = (self._predictor.printed(each, snapshot) for each in labels or [()] * len(vectors))
        shown = [Shown((), vector, matches) for vector, matches in zip(vectors, printed, strict=True)]
        return tagging.tags(self._predictor.model, snapshot, similarities, shown, k=self._k, bar=self._bar)

    def _read(self, item: PictureFile) -> _Read:
        if item.problem:
            return _Read(problem=item.problem)
        try:
            with opened(item.read()) as picture:
                boxes, parts = crops(picture) if self._regions else ((), [picture])
                return _Read([self.square(part) for part in parts], boxes, picture.width, picture.height)
        except ImageError as error:
            return _Read(problem=error.reason)

    def _annotation(
        self, item: PictureFile, read: _Read, found: list[list[Tag]], explanations: dict[str, str]
    ) -> Annotation:
        tags = found[0]
        return Annotation(
            file=item.name,
            width=read.width,
            height=read.height,
            release=self._release,
            tags=tuple(tags),
            regions=tuple(regions(read.boxes, found)) if self._regions else None,
            labels=read.labels,
            reading=None if read.reading is None else read.reading.outcome,
            explanation=explanations.get(tags[0].entity_id, "") if tags else "",
        )


def _explanations(snapshot: Snapshot, entity_ids: Collection[str]) -> dict[str, str]:
    """The explanations of those of these entities that can be found, as they were written."""
    numbers = [number for added in (True, False) for number in snapshot.numbers(entity_ids, added=added)]
    rows = snapshot.entity_rows(np.array(numbers, np.int64))
    return {row["entity_id"]: str(row["explanation"] or "") for row in rows}
