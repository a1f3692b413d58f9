"""Keeps what was read on pictures, by the picture's hash and the reader's version; several processes may share it."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from pydantic import TypeAdapter

from entityclip.data.labels import LabelReader, reader_version
from entityclip.errors import DataError
from entityclip.schemas import Label, Reading
from entityclip.storage.sqlite import open_shared

WAIT_SECONDS = 60.0

Screen = Callable[[tuple[Label, ...]], tuple[Label, ...]]
"""Which of the lines may be kept."""

_LABELS = TypeAdapter(tuple[Label, ...])
_SCHEMA = """CREATE TABLE IF NOT EXISTS reading (
    picture TEXT NOT NULL, reader TEXT NOT NULL, labels TEXT NOT NULL, PRIMARY KEY (picture, reader)
) WITHOUT ROWID"""


class LabelCache:
    """A SQLite file with one row per picture and reader. Each row is written as soon as the picture was read.

    Args:
        path: The file; created if it does not exist.
        screen: Which lines are kept, and given back; ``explanations.pii.without_personal_data``, for instance.

    Raises:
        DataError: The file is not such a cache.
    """

    def __init__(self, path: Path, *, screen: Screen) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = open_shared(
                path, wait_seconds=WAIT_SECONDS, prepare=lambda db: db.execute(_SCHEMA), isolation_level=None
            )
        except sqlite3.DatabaseError as error:
            raise DataError(f"{path}: cannot be used as the cache of labels ({error}); delete it") from error
        self._reader, self.screen = reader_version(), screen

    def __enter__(self) -> LabelCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._db.close()

    def get(self, sha256: str) -> tuple[Label, ...] | None:
        """The lines on the picture with this hash; None where this version of the reader has not read it."""
        query = "SELECT labels FROM reading WHERE picture = ? AND reader = ?"
        row = self._db.execute(query, (sha256, self._reader)).fetchone()
        return None if row is None else self.screen(_LABELS.validate_json(row[0]))

    def put(self, sha256: str, labels: tuple[Label, ...]) -> tuple[Label, ...]:
        """Keep the lines on a picture that was read in full, and give those that may be kept."""
        kept = self.screen(labels)
        row = (sha256, self._reader, _LABELS.dump_json(kept).decode())
        self._db.execute("INSERT OR REPLACE INTO reading VALUES (?, ?, ?)", row)
        return kept


def read_once(data: bytes, reader: LabelReader, cache: LabelCache, *, seconds: float | None = None) -> Reading:
    """The text on the picture in a file's bytes: from ``cache`` if it is there, else read and kept.

    Only lines that the cache's ``screen`` lets through are given. A picture that was read in part is not kept, so that
    it is read again.

    Raises:
        ImageError: The picture cannot be used.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    if (known := cache.get(sha256)) is not None:
        return Reading(outcome="read", labels=known)
    reading = reader.read_file(data, seconds=seconds)
    kept = cache.put(sha256, reading.labels) if reading.outcome == "read" else cache.screen(reading.labels)
    return reading.model_copy(update={"labels": kept})
