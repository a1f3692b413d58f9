"""A source without erased rows, even if its table still contains them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from entityclip.data.erasure import Erasure, Kind
from entityclip.data.images import strip_metadata
from entityclip.data.pairs import digest
from entityclip.data.sources.base import EntityRow, PictureRow, Source
from entityclip.errors import ImageError
from entityclip.schemas import Rejection

Row = TypeVar("Row", PictureRow, EntityRow)


def without_erased(source: Source, erasures: Sequence[Erasure]) -> Source:
    """The source without the rows of the erasures; the source itself if there are none."""
    return _Without(source, erasures) if erasures else source


class _Without:
    """Replaces erased rows by rejections that hold the row number but no content."""

    def __init__(self, source: Source, erasures: Sequence[Erasure]) -> None:
        self.name, self.language = source.name, source.language
        self._source, self._erasures = source, erasures
        self._by_picture = any(erasure.kind == "picture" for erasure in erasures)

    def fingerprint(self) -> str:
        """Hash of the source and of every erasure."""
        return digest(self._source.fingerprint(), *(d for erasure in self._erasures for d in erasure.digests))

    def __len__(self) -> int:
        return len(self._source)

    def entities(self) -> Iterator[EntityRow | Rejection]:
        """The remaining rows, without erased texts."""
        for row in self._source.entities():
            yield row if isinstance(row, Rejection) else self._kept(row, row.id)

    def pictures(self) -> Iterator[PictureRow | Rejection]:
        """The remaining rows, without erased texts."""
        for row in self._source.pictures():
            if isinstance(row, Rejection):
                yield row
            elif (erasure := self._about("text", row.caption)) or (erasure := self._pictured(row)):
                yield _rejected(row, erasure)
            else:
                yield self._kept(row, row.entity_row().id)

    def _kept(self, row: Row, entity_id: str) -> Row | Rejection:
        erasure = self._about("entity", entity_id)
        if erasure:
            return _rejected(row, erasure)
        texts = tuple(text for text in row.explanations if not self._about("text", text))
        return replace(row, explanations=texts)

    def _pictured(self, row: PictureRow) -> Erasure | None:
        if not self._by_picture:
            return None
        try:
            return self._about("picture", hashlib.sha256(strip_metadata(row.data)).hexdigest())
        except ImageError:  # ingest says why
            return None

    def _about(self, kind: Kind, value: str) -> Erasure | None:
        return next((erasure for erasure in self._erasures if erasure.holds(kind, value)), None)


def _rejected(row: PictureRow | EntityRow, erasure: Erasure) -> Rejection:
    reason = f"erased at a request on {erasure.since:%Y-%m-%d}; take the row out of the source"
    return Rejection(file="(erased)", row=row.row, reason=reason)
