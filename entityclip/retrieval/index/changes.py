"""Entities that were added, changed or removed while a model is in service: one SQLite file.

A change is on the disk when the call returns, and every process that has the file open sees it with its next
question. Entries and pictures are kept as they came; their vectors are kept for each model apart, so that
another release reads the same file, embeds again what it needs, and never mixes vectors.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from entityclip.data.pairs import digest
from entityclip.errors import ConfigError, DataError
from entityclip.paths import ChangesLayout
from entityclip.retrieval.index.fulltext import FullText
from entityclip.schemas import EntityEntry
from entityclip.storage import private_folder
from entityclip.storage.sqlite import open_shared

MOST_PICTURES = 100
"""Pictures of one entity that may be added."""

KEPT_MODELS = 4
"""Models whose vectors are kept: a service's champion, previous and challenger, and one before them."""

WAIT_SECONDS = 20.0
"""Until a change that finds others at work gives up."""

TEXTS = ""
"""Stands in the place of a picture's id where a vector is of the texts."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entity (
    entity_id TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, entry TEXT, keeps_released INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS picture (
    entity_id TEXT NOT NULL, pair_id TEXT NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (entity_id, pair_id)
);
CREATE TABLE IF NOT EXISTS vector (
    fingerprint TEXT NOT NULL, entity_id TEXT NOT NULL, pair_id TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (fingerprint, entity_id, pair_id)
);
CREATE TABLE IF NOT EXISTS origin (
    entity_id TEXT NOT NULL, pair_id TEXT NOT NULL, key TEXT NOT NULL, at TEXT NOT NULL, sha256 TEXT NOT NULL,
    PRIMARY KEY (entity_id, pair_id)
);
"""


@dataclass(frozen=True, eq=False)
class Change:
    """The state of one entity after its last change."""

    entity_id: str
    number: int
    """Counts the changes of all entities."""
    entry: EntityEntry | None
    """None where it was removed."""
    keeps_released: bool
    """Whether the pictures that the release has of it still count."""
    pictures: tuple[str, ...]
    """Ids of the pictures that were added."""
    vectors: Mapping[str, np.ndarray]
    """Picture id -> (D,); ``TEXTS`` -> (2, D), name and explanations; what the model has not embedded is missing."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """Picture id -> SHA-256 of the file; missing for pictures that an older version added."""

    @property
    def embedded(self) -> bool:
        """Whether all vectors are there."""
        return self.vectors.keys() >= {TEXTS, *self.pictures}


def picture_id(entity_id: str, picture: bytes) -> str:
    """Stable id of a picture that is added to an entity."""
    return digest("added", entity_id, hashlib.sha256(picture).hexdigest())


def _whole(pair_id: str, value: bytes, *, dim: int) -> bool:
    """Whether a stored vector has the length that the model gives; any other counts as missing and is made again."""
    return len(value) == (2 if pair_id == TEXTS else 1) * dim * np.dtype(np.float32).itemsize


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables that are missing."""
    connection.execute("PRAGMA synchronous = FULL")
    connection.executescript(_SCHEMA)
    FullText.prepare(connection)


class Changes:
    """The changes, as a model with one fingerprint reads and writes them; threads may share it.

    Raises:
        DataError: The file is damaged, or of something else.
    """

    def __init__(self, layout: ChangesLayout, *, fingerprint: str) -> None:
        private_folder(layout.root)
        self._path, self._fingerprint, self._lock = layout.database, fingerprint, threading.RLock()
        with self._explained():
            self._connection = open_shared(
                self._path, wait_seconds=WAIT_SECONDS, prepare=prepare, isolation_level=None, check_same_thread=False
            )
        self.text = FullText(self._connection, self._lock)
        self._compact()

    # ------------------------------------------------------------ writing
    def put(
        self,
        entity_id: str,
        entry: EntityEntry,
        *,
        pictures: Sequence[bytes],
        keep_pictures: bool,
        vectors: Mapping[str, np.ndarray],
        key: str = "",
    ) -> None:
        """Add an entity, or put ``entry`` in the place of what was known about it.

        Args:
            entity_id: Which one.
            entry: Its texts.
            pictures: As files' bytes; one that it has already is not added twice.
            keep_pictures: Whether the pictures that it has, added or released, stay; of an entity that was removed,
                whether the released ones return.
            vectors: As ``Change.vectors``, of the texts and of ``pictures``.
            key: Id of the API key of the person who does it; '' where there is none.

        Raises:
            ConfigError: It would have more than ``MOST_PICTURES`` added pictures.
            DataError: The file cannot be written.
        """
        with self._transaction():
            before, returns = self._row(entity_id), self._was_removed(entity_id)
            if not keep_pictures:
                self._forget_pictures(entity_id)
            insert = "INSERT OR IGNORE INTO picture VALUES (?, ?, ?)"
            rows = [(entity_id, picture_id(entity_id, picture), picture) for picture in pictures]
            self._connection.executemany(insert, rows)
            self._note(entity_id, {pair_id: hashlib.sha256(data).hexdigest() for _, pair_id, data in rows}, key)
            if self._one("SELECT count(*) FROM picture WHERE entity_id = ?", entity_id) > MOST_PICTURES:
                raise ConfigError(f"entity {entity_id}: more than {MOST_PICTURES} pictures; send keep_pictures false")
            # Once a release's pictures were given up, they do not come back.
            kept = keep_pictures and (before is None or before[1] or returns)
            self._write(entity_id, entry.model_dump_json(), keeps_released=kept)
            self._keep(entity_id, vectors)
            self._put_text(entity_id, entry)

    def remove(self, entity_id: str, *, key: str = "") -> None:
        """Take an entity and its pictures out; that of a release as well. ``key`` as of ``put``."""
        with self._transaction():
            self._forget_pictures(entity_id)
            self._note(entity_id, {}, key)
            self._write(entity_id, None, keeps_released=False)

    def erase(self, entity_id: str) -> None:
        """Take an entity out for good, with who changed it and when: its released pictures never return."""
        with self._transaction():
            self._forget_pictures(entity_id)
            self._connection.execute("DELETE FROM origin WHERE entity_id = ?", (entity_id,))
            self._write(entity_id, None, keeps_released=False)

    def _was_removed(self, entity_id: str) -> bool:
        """Whether a person removed it last. An erased entity has no origin."""
        query = """SELECT count(*) FROM entity JOIN origin USING (entity_id)
            WHERE entity_id = ? AND pair_id = ? AND entry IS NULL"""
        return bool(self._one(query, entity_id, TEXTS))

    def remove_pictures(self, entity_id: str, pair_ids: Iterable[str]) -> None:
        """Take some of the pictures that were added to an entity out; the entity stays."""
        with self._transaction():
            gone = [(entity_id, pair_id) for pair_id in pair_ids]
            for table in ("picture", "vector", "origin"):
                self._connection.executemany(f"DELETE FROM {table} WHERE entity_id = ? AND pair_id = ?", gone)
            values = (self.number() + 1, entity_id)
            self._connection.execute("UPDATE entity SET number = ? WHERE entity_id = ?", values)

    def keep(self, change: Change, vectors: Mapping[str, np.ndarray]) -> None:
        """Keep what was embedded for ``change``, unless the entity was changed again meanwhile."""
        with self._transaction():
            row = self._row(change.entity_id)
            if row is not None and row[0] == change.number:
                self._keep(change.entity_id, vectors)

    def _write(self, entity_id: str, entry: str | None, *, keeps_released: bool) -> None:
        number = self.number() + 1
        values = (entity_id, number, entry, keeps_released)
        self._connection.execute("INSERT OR REPLACE INTO entity VALUES (?, ?, ?, ?)", values)
        self._connection.execute("DELETE FROM vector WHERE entity_id = ? AND pair_id = ?", (entity_id, TEXTS))
        self.text.drop(entity_id)

    def _keep(self, entity_id: str, vectors: Mapping[str, np.ndarray]) -> None:
        rows = [
            (self._fingerprint, entity_id, pair_id, np.ascontiguousarray(vector, np.float32).tobytes())
            for pair_id, vector in vectors.items()
        ]
        self._connection.executemany("INSERT OR REPLACE INTO vector VALUES (?, ?, ?, ?)", rows)

    def _forget_pictures(self, entity_id: str) -> None:
        for table in ("picture", "vector", "origin"):
            self._connection.execute(f"DELETE FROM {table} WHERE entity_id = ? AND pair_id != ?", (entity_id, TEXTS))

    def _note(self, entity_id: str, hashes: Mapping[str, str], key: str) -> None:
        """Keep who made the last change, and who was the first to add each picture."""
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        insert = "INTO origin (entity_id, pair_id, key, at, sha256) VALUES (?, ?, ?, ?, ?)"
        self._connection.execute(f"INSERT OR REPLACE {insert}", (entity_id, TEXTS, key, at, ""))
        rows = [(entity_id, pair_id, key, at, sha256) for pair_id, sha256 in hashes.items()]
        self._connection.executemany(f"INSERT OR IGNORE {insert}", rows)

    def _compact(self) -> None:
        """Delete vectors of models that are long gone, and texts that an older version could not delete."""
        if self._one("SELECT count(DISTINCT fingerprint) FROM vector") > KEPT_MODELS:
            latest = "SELECT fingerprint FROM vector GROUP BY fingerprint ORDER BY max(rowid) DESC LIMIT ?"
            old = f"DELETE FROM vector WHERE fingerprint != ? AND fingerprint NOT IN ({latest})"
            with self._transaction():
                self._connection.execute(old, (self._fingerprint, KEPT_MODELS))
        if not self.text.droppable:
            with self._transaction():
                self._read_texts_again()

    def _read_texts_again(self) -> None:
        self.text.clear()
        query = "SELECT entity_id, entry FROM entity WHERE entry IS NOT NULL ORDER BY number"
        for entity_id, entry in self._connection.execute(query).fetchall():
            self._put_text(entity_id, EntityEntry.model_validate_json(entry))

    def _put_text(self, entity_id: str, entry: EntityEntry) -> None:
        self.text.put(entity_id, names=(entry.entity, *entry.aliases), texts=entry.explanations)

    # ------------------------------------------------------------ reading
    def number(self) -> int:
        """Of the last change; 0 where there is none."""
        return int(self._one("SELECT coalesce(max(number), 0) FROM entity"))

    def since(self, number: int, *, dim: int) -> list[Change]:
        """What changed after change ``number``, the last state of each entity, in the order of the changes."""
        with self._lock, self._explained():
            rows = self._connection.execute(
                "SELECT entity_id, number, entry, keeps_released FROM entity WHERE number > ? ORDER BY number",
                (number,),
            ).fetchall()
            return [self._change(row, dim) for row in rows]

    def pictures(self, entity_id: str) -> dict[str, bytes]:
        """Picture id -> the file's bytes, of the pictures that were added."""
        with self._lock, self._explained():
            query = "SELECT pair_id, bytes FROM picture WHERE entity_id = ? ORDER BY rowid"
            return dict(self._connection.execute(query, (entity_id,)).fetchall())

    def entry(self, entity_id: str) -> EntityEntry | None:
        """The texts of an entity that was added or changed; None for any other."""
        with self._lock, self._explained():
            query = "SELECT entry FROM entity WHERE entity_id = ? AND entry IS NOT NULL"
            found = self._connection.execute(query, (entity_id,)).fetchone()
            return None if found is None else EntityEntry.model_validate_json(found[0])

    def _change(self, row: tuple[str, int, str | None, int], dim: int) -> Change:
        entity_id, number, entry, keeps = row
        ids = self._connection.execute("SELECT pair_id FROM picture WHERE entity_id = ? ORDER BY rowid", (entity_id,))
        pictures = tuple(pair_id for (pair_id,) in ids.fetchall())
        query = "SELECT pair_id, value FROM vector WHERE fingerprint = ? AND entity_id = ?"
        stored = self._connection.execute(query, (self._fingerprint, entity_id)).fetchall()
        vectors = {
            pair_id: np.frombuffer(value, np.float32).reshape(-1, dim)
            for pair_id, value in stored
            if _whole(pair_id, value, dim=dim)
        }
        read = None if entry is None else EntityEntry.model_validate_json(entry)
        query = "SELECT pair_id, sha256 FROM origin WHERE entity_id = ? AND pair_id != ?"
        hashes = dict(self._connection.execute(query, (entity_id, TEXTS)).fetchall())
        return Change(entity_id, number, read, bool(keeps), pictures, vectors, hashes)

    def _row(self, entity_id: str) -> tuple[int, bool] | None:
        query = "SELECT number, keeps_released FROM entity WHERE entity_id = ?"
        found: tuple[int, bool] | None = self._connection.execute(query, (entity_id,)).fetchone()
        return found

    def _one(self, query: str, *values: str) -> int:
        with self._lock, self._explained():
            found: int = self._connection.execute(query, values).fetchone()[0]
            return found

    # ------------------------------------------------------------ transactions
    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it or nothing, one process at a time."""
        with self._lock, self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise DataError(
                f"{self._path}: {error}; give it a local disk with space that is its own, or bring a backup back"
            ) from error
