"""The audit log: what was sent to which host and model, when, and how much was redacted first."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from entityclip.errors import DataError
from entityclip.schemas import Record
from entityclip.storage.sqlite import open_shared

_TABLE = """
CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY, sent_at TEXT NOT NULL, host TEXT NOT NULL, model TEXT NOT NULL, entity_id TEXT NOT NULL,
    text_sha256 TEXT NOT NULL, characters INTEGER NOT NULL, redactions TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS audit_is_not_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS audit_is_not_cut BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
"""


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA synchronous = NORMAL")
    db.executescript(_TABLE)


class Sent(Record):
    """One text that was sent to a writer. The record holds its hash and length, not the text."""

    sent_at: str
    """UTC, ISO 8601, to the millisecond."""
    host: str
    model: str
    entity_id: str
    text_sha256: str
    """SHA-256 of the text as sent, after redaction, in UTF-8."""
    characters: int
    redactions: dict[str, int]
    """Kind of personal data -> number of redactions."""


class Audit:
    """An append-only table in the ledger file. Several processes may share it.

    Raises:
        DataError: The file is not an SQLite database.
    """

    def __init__(self, ledger: Path) -> None:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = open_shared(ledger, wait_seconds=60, prepare=_prepare, isolation_level=None)
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{ledger}: cannot hold the audit log ({error}); move the file away and run again"
            ) from error

    def __enter__(self) -> Audit:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._db.close()

    def record(
        self, text: str, *, entity_id: str, host: str, model: str, redactions: Mapping[str, int] | None = None
    ) -> None:
        """Record that ``text`` goes to ``host`` now. Call it before sending: if recording fails, nothing is sent."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        counts = json.dumps(dict(redactions or {}), sort_keys=True)
        self._db.execute(
            "INSERT INTO audit (sent_at, host, model, entity_id, text_sha256, characters, redactions) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (now, host, model, entity_id, sha256, len(text), counts),
        )


def read_audit(ledger: Path) -> Iterator[Sent]:
    """Yield every text that was sent, oldest first; nothing if the ledger or its audit table does not exist.

    Raises:
        DataError: The file is not a ledger.
    """
    if not ledger.exists():
        return
    columns = ", ".join(Sent.model_fields)
    try:
        # Read-only: this must neither create the table nor wait for a run that is writing.
        with closing(sqlite3.connect(f"file:{quote(str(ledger))}?mode=ro", uri=True, timeout=60)) as db:
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'audit'").fetchone():
                for *values, redactions in db.execute(f"SELECT {columns} FROM audit ORDER BY id"):
                    plain = dict(zip(Sent.model_fields, values, strict=False))
                    yield Sent(**plain, redactions=json.loads(redactions))
    except sqlite3.DatabaseError as error:
        raise DataError(f"{ledger}: cannot be read as a ledger ({error})") from error
