"""The ledger: every answer of every writer, so that no request is paid for twice; and what the workspace cost."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import TypeAdapter

from entityclip.data.pairs import digest
from entityclip.errors import DataError
from entityclip.explanations.source_writer import Writer, WriterAnswer, WriterCost
from entityclip.paths.workspace import former_ledger
from entityclip.schemas import CostReading, ExplanationRecord, ExplanationRequest, ReleaseCost, release_costs
from entityclip.storage import atomic_path
from entityclip.storage.sqlite import open_shared

_RECORDS = TypeAdapter(tuple[ExplanationRecord, ...])
_TEXTS = TypeAdapter(tuple[str, ...])
VERSION = 2
_MIGRATIONS = (
    (
        # Written by the first version of this project, which had no schema version.
        """CREATE TABLE IF NOT EXISTS answers (
            key TEXT PRIMARY KEY, generator TEXT NOT NULL, prompt_version TEXT NOT NULL,
            written_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, records TEXT NOT NULL
        ) WITHOUT ROWID""",
        "ALTER TABLE answers ADD COLUMN entity TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE answers ADD COLUMN visible TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE answers ADD COLUMN doubts TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE answers ADD COLUMN set_aside TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE answers ADD COLUMN tokens_in INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE answers ADD COLUMN tokens_out INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE answers ADD COLUMN seconds REAL NOT NULL DEFAULT 0",
        "ALTER TABLE answers ADD COLUMN money REAL NOT NULL DEFAULT 0",
    ),
    ("CREATE TABLE IF NOT EXISTS costs (started TEXT PRIMARY KEY, reading TEXT NOT NULL) WITHOUT ROWID",),
)
"""Statements that migrate a ledger from version i to version i + 1. Never edit an existing one."""
_KEEP = """INSERT INTO answers (
    key, generator, prompt_version, records, entity, visible, doubts, set_aside, tokens_in, tokens_out, seconds, money
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
    records = excluded.records, visible = excluded.visible, doubts = excluded.doubts, set_aside = excluded.set_aside,
    tokens_in = tokens_in + excluded.tokens_in, tokens_out = tokens_out + excluded.tokens_out,
    seconds = seconds + excluded.seconds, money = money + excluded.money, written_at = CURRENT_TIMESTAMP
WHERE set_aside != ''"""
_CHUNK = 500


def key_of(request: ExplanationRequest, *, writer: Writer) -> str:
    """Key of the answer of ``writer`` to ``request``: a hash of everything that the texts depend on."""
    fields = (request.caption, request.entity, request.category, request.language)
    version = writer.prompt_version(request)
    key = digest("answer", writer.generator, version, *fields, *request.source_provided, length=32)
    pictures = ",".join(request.pictures_sha256)
    if request.reason or pictures:  # hashed apart, so that answers from before there were any are still found
        key = digest("answer again", key, request.reason, pictures, length=32)
    return key


class Ledger:
    """A SQLite file with one row per answered request.

    An answer with all its texts is one row, written in one transaction: after ``kill -9`` it is complete or absent.
    Several processes may share the file. The first accepted answer to a request stays. An answer that was rejected
    is replaced by the next one, and their costs are added.

    Raises:
        DataError: The file is not a ledger, or was written by a newer version of this project.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _copy_former(path)
        try:
            self._db = open_shared(path, wait_seconds=60, prepare=_prepare, isolation_level=None)
        except sqlite3.DatabaseError as e:
            raise DataError(f"{path}: cannot be used as the ledger ({e}); move the file away and run again") from e

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._db.close()

    def get(self, keys: Iterable[str]) -> dict[str, tuple[ExplanationRecord, ...]]:
        """Texts of the stored answers with the writer's doubts, by key; empty for an answer that was rejected."""
        answers = {}
        for key, records, doubts in self._select("records, doubts", keys):
            doubted = {"doubts": "; ".join(_TEXTS.validate_json(doubts))}
            answers[key] = tuple(text.model_copy(update=doubted) for text in _RECORDS.validate_json(records))
        return answers

    def known(self, keys: Iterable[str]) -> dict[str, str]:
        """Key of each stored answer -> why it was rejected; empty if it was not."""
        return dict(self._select("set_aside", keys))

    def costs(self, keys: Iterable[str]) -> dict[str, WriterCost]:
        """Cost of the stored answers, by key."""
        names = tuple(WriterCost.model_fields)
        return {
            key: WriterCost(**dict(zip(names, values, strict=True)))
            for key, *values in self._select(", ".join(names), keys)
        }

    def _select(self, columns: str, keys: Iterable[str]) -> Iterable[Any]:
        wanted = list(keys)
        for start in range(0, len(wanted), _CHUNK):
            some = wanted[start : start + _CHUNK]
            marks = ",".join("?" * len(some))
            yield from self._db.execute(f"SELECT key, {columns} FROM answers WHERE key IN ({marks})", some)

    def keep(self, key: str, answer: WriterAnswer, *, writer: Writer) -> None:
        """Store one answer. It is durable when this returns."""
        lists = (_RECORDS.dump_json(answer.records), _TEXTS.dump_json(answer.visible), _TEXTS.dump_json(answer.doubts))
        records, visible, doubts = (raw.decode() for raw in lists)
        origin = (key, writer.generator, writer.prompt_version(answer.request))
        content = (records, answer.request.entity, visible, doubts, answer.rejected)
        cost = answer.cost
        self._db.execute(_KEEP, (*origin, *content, cost.tokens_in, cost.tokens_out, cost.seconds, cost.money))

    def spent(self) -> WriterCost:
        """Total cost of all answers."""
        sums = ", ".join(f"total({name})" for name in WriterCost.model_fields)
        tokens_in, tokens_out, seconds, money = self._db.execute(f"SELECT {sums} FROM answers").fetchone()
        return WriterCost(tokens_in=int(tokens_in), tokens_out=int(tokens_out), seconds=seconds, money=money)

    def write_reading(self, reading: CostReading) -> None:
        """Store what the workspace has cost at the end of a run; a second reading of the run replaces the first."""
        row = (reading.started.isoformat(), reading.model_dump_json())
        self._db.execute("INSERT OR REPLACE INTO costs VALUES (?, ?)", row)

    def readings(self) -> tuple[CostReading, ...]:
        """The reading of each run, oldest first."""
        rows = self._db.execute("SELECT reading FROM costs ORDER BY started")
        return tuple(CostReading.model_validate_json(reading) for (reading,) in rows)

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])


def read_release_costs(path: Path) -> tuple[ReleaseCost, ...]:
    """The cost of each release of the workspace whose ledger is ``path``; empty where there is none."""
    if not path.exists():
        return ()
    with Ledger(path) as ledger:
        return release_costs(ledger.readings())


def _prepare(db: sqlite3.Connection) -> None:
    # Survives a killed process. A power failure may lose the last answers, but not the file.
    db.execute("PRAGMA synchronous = NORMAL")
    _migrate(db)


def _migrate(db: sqlite3.Connection) -> None:
    """Migrate the tables to ``VERSION`` in one transaction; several processes may do so at once."""
    db.execute("BEGIN IMMEDIATE")
    try:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > VERSION:
            raise sqlite3.DatabaseError(f"it has version {version}, this program knows {VERSION}: update the program")
        for statements in _MIGRATIONS[version:]:
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _copy_former(path: Path) -> None:
    """Copy the ledger from its place in earlier versions, unless ``path`` exists."""
    former = former_ledger(path)
    if path.exists() or not former.is_file():
        return
    try:
        # Never replace a copy that another run has made and written to in the meantime.
        with (
            atomic_path(path, replace=False) as temporary,
            contextlib.closing(sqlite3.connect(former, timeout=60)) as db,
        ):
            db.execute("VACUUM INTO ?", (str(temporary),))
    except sqlite3.DatabaseError as e:
        raise DataError(f"{former}: cannot be read as the ledger ({e}); move the file away and run again") from e
