"""The ledger: every answer of every writer, kept the moment it arrives, so that nothing is written twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from pydantic import TypeAdapter

from entityclip.errors import DataError
from entityclip.explain.writer import Writer
from entityclip.pairs import digest
from entityclip.records import ExplanationRecord, ExplanationRequest

_RECORDS = TypeAdapter(tuple[ExplanationRecord, ...])
_TABLE = """CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, generator TEXT NOT NULL, prompt_version TEXT NOT NULL,
    written_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, records TEXT NOT NULL
) WITHOUT ROWID"""
_AT_ONCE = 500


def key_of(request: ExplanationRequest, *, writer: Writer) -> str:
    """Where the answer of ``writer`` to ``request`` stands: a hash of all that the texts may depend on."""
    asked = (request.caption, request.entity, request.category, request.language)
    return digest("answer", writer.generator, writer.prompt_version, *asked, *request.brought, length=32)


class Ledger:
    """A SQLite file with one row per answered request.

    An answer with all its texts is one row and one transaction: after ``kill -9`` it is there whole or not at
    all. Several processes may share the file; the first answer to a request stays.

    Raises:
        DataError: The file is not a ledger.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            # Survives a killed process; only a power cut may lose the last answers, never the file.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(_TABLE)
        except sqlite3.DatabaseError as e:
            self._db.close()
            raise DataError(f"{path}: cannot be used as the ledger ({e}); move it away and run again") from e

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._db.close()

    def get(self, keys: Iterable[str]) -> dict[str, tuple[ExplanationRecord, ...]]:
        """The answers that are known, by key."""
        wanted, found = list(keys), {}
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            rows = self._db.execute(f"SELECT key, records FROM answers WHERE key IN ({marks})", some)
            found.update({key: _RECORDS.validate_json(records) for key, records in rows})
        return found

    def keep(self, key: str, records: tuple[ExplanationRecord, ...], *, writer: Writer) -> None:
        """Keep one answer. A key that has one already keeps the old."""
        self._db.execute(
            "INSERT OR IGNORE INTO answers (key, generator, prompt_version, records) VALUES (?, ?, ?, ?)",
            (key, writer.generator, writer.prompt_version, _RECORDS.dump_json(records).decode()),
        )

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])
