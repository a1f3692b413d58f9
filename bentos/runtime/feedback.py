"""The feedback spool: confirmations and corrections of users, stored until a flow ingests them.

A row never changes, and a row that is sent twice is stored once. With SQLite, all workers of a machine can
write to one file while a flow reads it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from entityclip.errors import DataError
from entityclip.schemas import Record
from entityclip.storage.sqlite import transaction

Verdict = Literal["right", "wrong", "missing"]

MOST_ROWS = 1_000_000
MOST_BYTES = 8 * 2**30
"""Limits of the spool, so that it cannot fill the disk if no flow reads it."""

_SCHEMA = """CREATE TABLE IF NOT EXISTS feedback (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT UNIQUE NOT NULL, at TEXT NOT NULL, release TEXT NOT NULL, key TEXT NOT NULL,
    verdict TEXT NOT NULL, entity_id TEXT NOT NULL, entity TEXT NOT NULL, text TEXT NOT NULL, picture BLOB NOT NULL
)"""


class Feedback(Record):
    """One judgement of one answer."""

    release: str = Field(description="Version of the release that gave the answer.")
    key: str = Field(description="Id of the API key that sent it.")
    verdict: Verdict = Field(description="The entity was right, was wrong, or should have been found.")
    entity_id: str = Field(description="Id of the judged entity; '' for one that is not in the index.")
    entity: str
    text: str = Field(default="", description="Text of the query.")
    picture: bytes = Field(default=b"", description="Picture of the query; the file as it was sent.")

    @property
    def id(self) -> str:
        """Hash of all other fields, so that a duplicate has the same id."""
        digest = hashlib.sha256(self.picture)
        for part in (self.release, self.key, self.verdict, self.entity_id, self.entity, self.text):
            digest.update(b"\0" + part.encode())
        return digest.hexdigest()[:32]


class Spool:
    """The feedback file at ``path``; several processes may use it at the same time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, feedback: Feedback) -> str:
        """Store the feedback and return its id once it is on disk.

        Raises:
            DataError: The spool is full, or cannot be written.
        """
        values = feedback.model_dump() | {"id": feedback.id, "at": datetime.now(UTC).isoformat()}
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        with self._open() as connection:
            self._require_room(connection)
            connection.execute(f"INSERT OR IGNORE INTO feedback ({names}) VALUES ({marks})", values)
        return feedback.id

    def _require_room(self, connection: sqlite3.Connection) -> None:
        (count,) = connection.execute("SELECT coalesce(max(number) - min(number) + 1, 0) FROM feedback").fetchone()
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        if count >= MOST_ROWS or (pages - free) * size >= MOST_BYTES:
            raise DataError(f"{self.path}: the feedback spool is full; run the feedback flow to ingest and empty it")

    def read(self, *, after: int = 0) -> Iterator[tuple[int, Feedback]]:
        """The rows after number ``after``, oldest first, each with its number.

        Raises:
            DataError: The spool cannot be read.
        """
        columns = ", ".join(Feedback.model_fields)
        with self._open() as connection:
            for number, *values in connection.execute(
                f"SELECT number, {columns} FROM feedback WHERE number > ? ORDER BY number", (after,)
            ):
                yield number, Feedback(**dict(zip(Feedback.model_fields, values, strict=True)))

    def withdraw(self, feedback_id: str) -> bool:
        """Delete a judgement that its caller takes back; False where a flow has ingested it already."""
        with self._open() as connection:
            return connection.execute("DELETE FROM feedback WHERE id = ?", (feedback_id,)).rowcount > 0

    def drop(self, *, until: int) -> None:
        """Delete the rows up to number ``until``, after they were stored elsewhere."""
        with self._open() as connection:
            connection.execute("DELETE FROM feedback WHERE number <= ?", (until,))

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection; the block is one transaction."""
        return transaction(self.path, _SCHEMA, name="feedback spool")
