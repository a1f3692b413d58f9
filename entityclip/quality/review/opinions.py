"""Who reviews which item, and every opinion that was given: shared by all reviewers of a workspace, as SQLite.

An item is a text or a piece of feedback, named by its id. A reviewer holds one item at a time, and no other reviewer
gets it while the lease lasts. An opinion is kept until its reviewer withdraws it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from pydantic import Field

from entityclip.errors import ConfigError, DataError
from entityclip.schemas import Record
from entityclip.storage.sqlite import open_shared

LEASE_SECONDS = 300.0
"""After this time without a decision another reviewer may get the item. A decision is measured up to this time."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS lease (item TEXT PRIMARY KEY, reviewer TEXT NOT NULL, since REAL NOT NULL);
CREATE TABLE IF NOT EXISTS skipped (item TEXT NOT NULL, reviewer TEXT NOT NULL, number INTEGER PRIMARY KEY,
    UNIQUE (item, reviewer));
CREATE TABLE IF NOT EXISTS opinion (number INTEGER PRIMARY KEY, item TEXT NOT NULL, reviewer TEXT NOT NULL,
    decision TEXT NOT NULL, edited_text TEXT NOT NULL, note TEXT NOT NULL, seconds REAL NOT NULL, at REAL NOT NULL,
    together INTEGER NOT NULL, settled INTEGER NOT NULL, stored TEXT NOT NULL, replaced TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS opinion_item ON opinion (item);
CREATE INDEX IF NOT EXISTS opinion_reviewer ON opinion (reviewer);
CREATE INDEX IF NOT EXISTS opinion_open ON opinion (settled);
"""

_LAST = "SELECT max(together) FROM opinion WHERE reviewer = ? AND together > 0"


class Opinion(Record):
    """What one reviewer decides about one item."""

    item: str
    reviewer: str
    decision: str
    edited_text: str = ""
    note: str = ""
    seconds: float = Field(default=0.0, ge=0, description="From the page to the decision; shared by similar cases.")
    at: float = Field(default=0.0, description="Time of the decision, seconds since 1970.")
    together: int = Field(default=0, description="The same for opinions given at once; below 0 for a copy.")
    stored: str = Field(default="", description="The row that this opinion stored, JSON; '' for none.")
    replaced: str = Field(default="", description="The row that it replaced, JSON; '' for none.")

    def same_as(self, other: Opinion) -> bool:
        """Whether both decide the same."""
        return (self.decision, self.edited_text) == (other.decision, other.edited_text)


class Pace(Record):
    """How fast one reviewer decides."""

    decided: int
    seconds: float = Field(description="Median of a decision; 0 before the first.")


class Opinions:
    """Leases and opinions in the file at ``path``; several threads and processes may use it.

    Args:
        path: SQLite file; made where there is none.
        clock: Seconds since 1970.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path, self._clock = path, clock

    # ------------------------------------------------------------ leases
    def take(self, reviewer: str, order: Iterable[str], *, also: Collection[str] = ()) -> str | None:
        """Give the reviewer the item that they hold, or the first free one; None where there is none.

        Args:
            reviewer: Who gets it.
            order: Items that wait, the most valuable first.
            also: Items that only this reviewer must not get: those that they have decided about.
        """
        waiting = [item for item in order if item not in also]
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("DELETE FROM lease WHERE since < ?", (self._clock() - LEASE_SECONDS,))
            leases = dict(database.execute("SELECT item, reviewer FROM lease"))
            skipped = _column(database, "SELECT item FROM skipped WHERE reviewer = ? ORDER BY number", reviewer)
            known, behind = set(waiting), set(skipped)
            held = next((item for item, holder in leases.items() if holder == reviewer and item in known), None)
            later = next((item for item in skipped if item in known and item not in leases), None)
            chosen = held or next((item for item in waiting if item not in leases and item not in behind), later)
            if chosen is not None:
                self._lease(database, chosen, reviewer)
            return chosen

    def hold(self, reviewer: str, item: str) -> bool:
        """Give the reviewer this item; False where another reviewer holds it."""
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            return self._lease(database, item, reviewer)

    def skip(self, reviewer: str, item: str) -> None:
        """Put the item behind all others of this reviewer, and give it free."""
        with self._open() as database:
            database.execute("DELETE FROM skipped WHERE item = ? AND reviewer = ?", (item, reviewer))
            database.execute("INSERT INTO skipped (item, reviewer) VALUES (?, ?)", (item, reviewer))
            database.execute("DELETE FROM lease WHERE item = ? AND reviewer = ?", (item, reviewer))

    def held_by_others(self, reviewer: str) -> set[str]:
        """Items that other reviewers hold."""
        with self._open() as database:
            query = "SELECT item FROM lease WHERE reviewer != ? AND since >= ?"
            return set(_column(database, query, reviewer, self._clock() - LEASE_SECONDS))

    def seconds_since(self, reviewer: str, item: str) -> float:
        """How long the reviewer has had the item, at most ``LEASE_SECONDS``; 0 where they do not hold it."""
        with self._open() as database:
            since = _column(database, "SELECT since FROM lease WHERE item = ? AND reviewer = ?", item, reviewer)
        return min(LEASE_SECONDS, max(0.0, self._clock() - since[0])) if since else 0.0

    def _lease(self, database: sqlite3.Connection, item: str, reviewer: str) -> bool:
        """Give the reviewer this item; False, and no change, where another reviewer holds it."""
        now = self._clock()
        database.execute("DELETE FROM lease WHERE since < ?", (now - LEASE_SECONDS,))
        holder = _column(database, "SELECT reviewer FROM lease WHERE item = ?", item)
        if not holder:
            database.execute("DELETE FROM lease WHERE reviewer = ?", (reviewer,))
            database.execute("INSERT INTO lease VALUES (?, ?, ?)", (item, reviewer, now))
        return not holder or holder == [reviewer]

    # ------------------------------------------------------------ opinions
    @contextmanager
    def adding(self, opinions: Sequence[Opinion], *, settled: Collection[str]) -> Iterator[None]:
        """Store opinions that are given at once, and give their items free; nothing of it where the block fails.

        Args:
            opinions: Of one reviewer. Those that have ``at`` are copies of decisions that were stored before.
            settled: Items that need no further opinion.

        Raises:
            ConfigError: A reviewer has an opinion about one of the items already; the block does not run.
        """
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            (first,) = database.execute("SELECT coalesce(max(number), 0) + 1 FROM opinion").fetchone()
            for opinion in opinions:
                self._require_new(database, opinion)
                row = opinion.model_dump() | {"settled": opinion.item in settled}
                row |= {"together": -first} if opinion.at else {"together": first, "at": self._clock()}
                names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
                database.execute(f"INSERT INTO opinion ({names}) VALUES ({marks})", row)
                database.execute("DELETE FROM lease WHERE item = ?", (opinion.item,))
                database.execute("UPDATE opinion SET settled = ? WHERE item = ?", (row["settled"], opinion.item))
            yield

    @staticmethod
    def _require_new(database: sqlite3.Connection, opinion: Opinion) -> None:
        given = "SELECT 1 FROM opinion WHERE item = ? AND reviewer = ?"
        if _column(database, given, opinion.item, opinion.reviewer):
            raise ConfigError(
                f"{opinion.reviewer} has decided about this item already ({opinion.item}); undo the decision to change "
                "it"
            )

    def of(self, item: str) -> tuple[Opinion, ...]:
        """Opinions about one item, oldest first."""
        return tuple(self._read("item = ?", item))

    def about(self, prefix: str) -> list[Opinion]:
        """Opinions about all items whose ids begin with ``prefix``, oldest first."""
        return list(self._read("substr(item, 1, ?) = ?", len(prefix), prefix))

    def open(self) -> dict[str, list[Opinion]]:
        """Item -> opinions, of each item with opinions that needs a further one."""
        found: dict[str, list[Opinion]] = {}
        for opinion in self._read("settled = 0"):
            found.setdefault(opinion.item, []).append(opinion)
        return found

    def latest(self, *, count: int) -> tuple[Opinion, ...]:
        """The last opinions, newest first."""
        return tuple(self._read("1", order=f"number DESC LIMIT {count:d}"))

    @contextmanager
    def withdrawing_last(self, reviewer: str) -> Iterator[tuple[Opinion, ...]]:
        """Take back what this reviewer decided last, with all that was decided at once; empty where there is nothing.

        Where the block fails, the opinions stay. The first of these items is the reviewer's again, unless another
        reviewer holds it. Items that another reviewer has decided about since stay.
        """
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            (last,) = database.execute(_LAST, (reviewer,)).fetchone()
            later = "EXISTS (SELECT 1 FROM opinion AS o WHERE o.item = opinion.item AND o.number > opinion.number)"
            taken = tuple(_opinions(database, f"together = ? AND NOT {later}", "number", last))
            for opinion in taken:
                database.execute("DELETE FROM opinion WHERE item = ? AND abs(together) = ?", (opinion.item, last))
                database.execute("UPDATE opinion SET settled = 0 WHERE item = ?", (opinion.item,))
            if taken:
                self._lease(database, taken[0].item, reviewer)
            yield taken

    def pace(self, reviewer: str) -> Pace:
        """How fast this reviewer decides."""
        with self._open() as database:
            query = "SELECT seconds FROM opinion WHERE reviewer = ? AND together > 0 ORDER BY seconds"
            seconds = _column(database, query, reviewer)
        return Pace(decided=len(seconds), seconds=seconds[len(seconds) // 2] if seconds else 0.0)

    # ------------------------------------------------------------ file
    def _read(self, where: str, *values: object, order: str = "number") -> Iterator[Opinion]:
        with self._open() as database:
            yield from _opinions(database, where, order, *values)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection; the block is one transaction.

        Raises:
            DataError: The file is damaged or cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            opened = open_shared(self.path, wait_seconds=10, prepare=lambda database: database.executescript(_SCHEMA))
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error
        try:
            with closing(opened) as connection, connection:
                yield connection
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> DataError:
        return DataError(
            f"{self.path}: the opinions of the reviewers cannot be used ({error}); delete the file: decisions that "
            "were stored stay"
        )


def _column(database: sqlite3.Connection, query: str, *values: object) -> list:
    return [row[0] for row in database.execute(query, values)]


def _opinions(database: sqlite3.Connection, where: str, order: str, *values: object) -> Iterator[Opinion]:
    columns = list(Opinion.model_fields)
    query = f"SELECT {', '.join(columns)} FROM opinion WHERE {where} ORDER BY {order}"
    for row in database.execute(query, values).fetchall():
        yield Opinion(**dict(zip(columns, row, strict=True)))
