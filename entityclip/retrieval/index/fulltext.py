"""Names, codes and full text in SQLite: what similarity cannot promise, an exact code and the very word.

SQLite's own trigrams find nothing shorter than three characters, and most Japanese words have two. Texts are
therefore held as overlapping pairs of characters: any piece of a word of any script is found, from one character on.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from entityclip.data.pairs import normalised
from entityclip.errors import DataError
from entityclip.retrieval.index import spelling
from entityclip.storage import atomic_path

LONGEST = 500
"""Characters of a question that are compared with names and texts; the vector has read the rest."""

SHORTEST_MISREAD = 3
"""Letters and digits of a printed name from which on misread characters are looked for."""

MOST_FOUND = 1000
"""Documents that one question finds in the full text, at most."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS name (entity_id TEXT NOT NULL, spelt TEXT NOT NULL, plain TEXT NOT NULL, key TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS name_plain ON name (plain);
CREATE INDEX IF NOT EXISTS name_key ON name (key);
CREATE INDEX IF NOT EXISTS name_entity ON name (entity_id);
CREATE TABLE IF NOT EXISTS document (
    number INTEGER PRIMARY KEY AUTOINCREMENT, entity_id TEXT NOT NULL, pair_id TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS document_entity ON document (entity_id);
"""
_READ_ONLY = "CREATE VIRTUAL TABLE grams USING fts5 (names, texts, content='', tokenize='ascii')"
"""Smaller, but a row can only be deleted by someone who still has its text."""
_CHANGEABLE = "CREATE VIRTUAL TABLE IF NOT EXISTS grams USING fts5 (names, texts, tokenize='ascii')"
_LABELS = "CREATE TABLE label (pair_id TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID"
"""Only where labels were read."""
_ENTITY_COLUMNS = ("entity_id", "entity", "aliases", "explanation")


@dataclass(frozen=True)
class Named:
    """An entity whose name or code a question is or holds, or nearly."""

    entity_id: str
    spelt: str
    """The name or code as it is written."""
    near: bool
    """It is one slip away, or written with other hyphens, spaces or look-alike characters."""


class FullText:
    """Names and texts of entities, captions of pictures and what is printed on them; threads may share it."""

    def __init__(self, connection: sqlite3.Connection, lock: threading.RLock | None = None) -> None:
        self._connection, self._lock = connection, lock or threading.RLock()

    @classmethod
    def create(
        cls,
        entities: pd.DataFrame,
        pictures: pd.DataFrame | None,
        *,
        labels: pd.DataFrame | None = None,
        path: Path | None = None,
    ) -> FullText:
        """The full text of an index's rows, in a new file at ``path`` or in memory.

        Args:
            entities: entity_id, entity, aliases, explanation.
            pictures: pair_id, entity_id, entity, caption; a caption that is only the entity's name is left out.
            labels: entity_id, pair_id, text of the pictures with text on them; None where it was not read.
            path: Replaced when it is there; half of it never is.
        """
        if path is not None:
            with atomic_path(path) as temporary, closing(sqlite3.connect(temporary)) as connection:
                cls._filled(connection, entities, pictures, labels)
            return cls.open(path)
        return cls._filled(sqlite3.connect(":memory:", check_same_thread=False), entities, pictures, labels)

    @classmethod
    def _filled(
        cls,
        connection: sqlite3.Connection,
        entities: pd.DataFrame,
        pictures: pd.DataFrame | None,
        labels: pd.DataFrame | None,
    ) -> FullText:
        connection.executescript(f"{_SCHEMA}{_READ_ONLY};")
        text, rows = cls(connection), entities.reindex(columns=_ENTITY_COLUMNS, fill_value="")
        with connection:
            for entity_id, entity, aliases, explanation in _columns(rows, *_ENTITY_COLUMNS):
                text.put(entity_id, names=(entity, *aliases), texts=[explanation])
            if pictures is not None:
                captioned = pictures[pictures["caption"] != pictures["entity"]]
                for entity_id, pair_id, caption in _columns(captioned, "entity_id", "pair_id", "caption"):
                    text.put_caption(entity_id, pair_id, caption)
            if labels is not None:
                connection.execute(_LABELS)
                for entity_id, pair_id, printed in _columns(labels, "entity_id", "pair_id", "text"):
                    connection.execute("INSERT INTO label VALUES (?, ?)", (pair_id, printed))
                    text.put_caption(entity_id, pair_id, printed)
            connection.execute("INSERT INTO grams (grams) VALUES ('optimize')")
        return text

    @classmethod
    def open(cls, path: Path) -> FullText:
        """The full text in a finished file, which is never written to.

        Raises:
            DataError: It is missing or damaged.
        """
        try:
            connection = sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True, check_same_thread=False)
            connection.execute("SELECT 1 FROM name, document, grams LIMIT 1").fetchone()
        except sqlite3.Error as error:
            raise DataError(f"{path}: not the full text of an index ({error}); build the index again") from error
        return cls(connection)

    @staticmethod
    def prepare(connection: sqlite3.Connection) -> None:
        """Make the tables in a database that holds other things as well; entities can be dropped from them."""
        connection.executescript(f"{_SCHEMA}{_CHANGEABLE};")

    # ------------------------------------------------------------ writing: the caller commits
    def put(self, entity_id: str, *, names: Iterable[str], texts: Iterable[str]) -> None:
        """Add an entity."""
        names = list(dict.fromkeys(name for name in names if normalised(name)))
        rows = [(entity_id, name, normalised(name), spelling.key(name)) for name in names]
        self._connection.executemany("INSERT INTO name VALUES (?, ?, ?, ?)", rows)
        self._put_grams(entity_id, "", names=" ".join(names), texts=" ".join(texts))

    def put_caption(self, entity_id: str, pair_id: str, caption: str) -> None:
        """Add what is written under a picture, or printed on it."""
        self._put_grams(entity_id, pair_id, names="", texts=caption)

    def _put_grams(self, entity_id: str, pair_id: str, *, names: str, texts: str) -> None:
        insert = "INSERT INTO document (entity_id, pair_id) VALUES (?, ?)"
        number = self._connection.execute(insert, (entity_id, pair_id)).lastrowid
        grams = (number, spelling.grams(names), spelling.grams(texts))
        self._connection.execute("INSERT INTO grams (rowid, names, texts) VALUES (?, ?, ?)", grams)

    def drop(self, entity_id: str) -> None:
        """Forget an entity: its names and its texts."""
        self._connection.execute("DELETE FROM name WHERE entity_id = ?", (entity_id,))
        numbers = "SELECT number FROM document WHERE entity_id = ?"
        self._connection.execute(f"DELETE FROM grams WHERE rowid IN ({numbers})", (entity_id,))
        self._connection.execute("DELETE FROM document WHERE entity_id = ?", (entity_id,))

    def clear(self) -> None:
        """Forget everything, in a database that ``prepare`` or an older version of it has prepared."""
        for table in ("name", "document"):
            self._connection.execute(f"DELETE FROM {table}")
        self._connection.execute("DROP TABLE grams")
        self._connection.execute(_CHANGEABLE)

    @property
    def droppable(self) -> bool:
        """Whether ``drop`` can delete texts; older versions made tables in which it could not."""
        query = "SELECT count(*) FROM sqlite_master WHERE name = 'grams' AND sql LIKE '%content=%'"
        with self._lock:
            return self._connection.execute(query).fetchone()[0] == 0

    # ------------------------------------------------------------ queries
    def named(self, text: str) -> list[Named]:
        """Entities whose name or code ``text`` is, or whose code it holds, but for case and width."""
        candidates = spelling.named_in(text[:LONGEST])
        return [Named(entity_id, spelt, near=False) for entity_id, spelt in self._names("plain", candidates)]

    def nearly(self, text: str) -> list[Named]:
        """Entities whose name or code ``text`` nearly is or holds, the ones that only hyphens tell apart first."""
        keys = dict.fromkeys(map(spelling.key, spelling.named_in(text[:LONGEST])))
        same = list(self._names("key", filter(None, keys)))
        slipped = list(self._names("key", dict.fromkeys(slip for key in keys for slip in spelling.slips(key))))
        return [Named(entity_id, spelt, near=True) for entity_id, spelt in dict.fromkeys([*same, *slipped])]

    def printed(self, line: str) -> list[Named]:
        """Entities whose name a printed line or a part of it is, or whose code it holds, but for case and width."""
        candidates = spelling.printed_in(line[:LONGEST])
        return [Named(entity_id, spelt, near=False) for entity_id, spelt in self._names("plain", candidates)]

    def misread(self, line: str, *, slips: bool) -> list[Named]:
        """Entities whose name or code a reader may have taken for ``line`` or a part of it: other hyphens or look-alike
        characters.

        Of names without a digit, also those that are one slip away; ``slips``: of codes as well.
        """
        names = [name for name in spelling.printed_in(line[:LONGEST]) if len(spelling.key(name)) >= SHORTEST_MISREAD]
        alike = self._names("key", dict.fromkeys(key for name in names for key in spelling.misreadings(name)))
        slippery = (name for name in names if slips or not any(map(str.isdigit, name)))
        slipped = self._names("key", dict.fromkeys(k for name in slippery for k in spelling.slips(spelling.key(name))))
        return [Named(entity_id, spelt, near=True) for entity_id, spelt in (list(alike) or list(slipped))]

    def _names(self, column: str, values: Iterable[str]) -> Iterator[tuple[str, str]]:
        values = list(values)
        for start in range(0, len(values), 10_000):  # SQLite takes 32,766 at once
            some = values[start : start + 10_000]
            marks = ", ".join("?" * len(some))
            yield from self._all(f"SELECT entity_id, spelt FROM name WHERE {column} IN ({marks}) ORDER BY rowid", some)

    def holding(self, text: str, *, column: Literal["names", "texts"], most: int = MOST_FOUND) -> list[tuple[str, str]]:
        """entity_id and pair_id ('' for the entity itself) of what holds every word of ``text``, in no order.

        Not ranked by the words' rarity: that took 430 ms where a third of 100,000 texts hold them.

        Args:
            text: The question.
            column: Where the words are looked for: in names and codes, or in explanations and captions.
            most: Where more texts hold the words, these say nothing, and nothing is found; of names, as many are given.
        """
        expression = " ".join(map(spelling.phrase, spelling.query_words(text[:LONGEST])))
        if not expression:
            return []
        found = self._all(
            "SELECT entity_id, pair_id FROM grams JOIN document ON document.number = grams.rowid "
            "WHERE grams MATCH ? LIMIT ?",
            [f"{column} : ({expression})", most + 1],
        )
        return found[:most] if column == "names" or len(found) <= most else []

    @cached_property
    def _labelled(self) -> bool:
        return bool(self._all("SELECT name, type FROM sqlite_master WHERE name = 'label'", []))

    def labels(self, pair_ids: Iterable[str]) -> dict[str, str]:
        """What is printed on those of these pictures that have text; empty where labels were not read."""
        if not self._labelled:
            return {}
        wanted = sorted(pair_ids)
        marks = ", ".join("?" * len(wanted))
        return dict(self._all(f"SELECT pair_id, text FROM label WHERE pair_id IN ({marks})", wanted))

    def _all(self, query: str, values: Sequence[str | int]) -> list[tuple[str, str]]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()


def _columns(frame: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(frame[column] for column in columns), strict=True)
