"""A source followed by the pictures that users of the service confirmed or corrected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from entityclip.data.pairs import digest
from entityclip.data.sources.base import EntityRow, PictureRow, Source
from entityclip.data.sources.table import TableSource
from entityclip.paths import FeedbackLayout
from entityclip.schemas import Rejection

FEEDBACK = "feedback"
"""Value of the ``source`` column of such rows."""


def with_feedback(source: Source, feedback: FeedbackLayout) -> Source:
    """The source with the rows of feedback; the source itself if there are none.

    Raises:
        SourceError: The feedback table is damaged.
    """
    if not feedback.table.exists():
        return source
    rows = TableSource(feedback.table, name=FEEDBACK)
    return _Joined(source, rows) if len(rows) else source


class _Joined:
    """Rows of ``first``, then those of ``feedback`` under their own source name."""

    def __init__(self, first: Source, feedback: Source) -> None:
        self.name, self.language = first.name, first.language
        self._first, self._feedback = first, feedback

    def fingerprint(self) -> str:
        """Hash of both."""
        return digest(self._first.fingerprint(), self._feedback.fingerprint())

    def __len__(self) -> int:
        return len(self._first) + len(self._feedback)

    def entities(self) -> Iterator[EntityRow | Rejection]:
        """Entities of the first source; feedback adds none."""
        return self._first.entities()

    def pictures(self) -> Iterator[PictureRow | Rejection]:
        """Pictures of both."""
        theirs = (row if isinstance(row, Rejection) else self._named(row) for row in self._feedback.pictures())
        return chain(self._first.pictures(), theirs)

    def _named(self, row: PictureRow) -> PictureRow:
        return replace(row, source=self._feedback.name, language=row.language or self.language)
