"""Annotations so far, in a SQLite file: a run that was killed continues, and a later run annotates only what is new."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from entityclip.annotation.picture_files import PictureFile
from entityclip.errors import DataError
from entityclip.schemas import Annotation
from entityclip.storage.sqlite import open_shared

_SCHEMA = """CREATE TABLE IF NOT EXISTS annotations (
    name TEXT NOT NULL, settings TEXT NOT NULL, stamp TEXT NOT NULL, annotation TEXT NOT NULL,
    PRIMARY KEY (name, settings)
)"""

Put = Callable[[Sequence[PictureFile], Sequence[Annotation]], None]


class Records:
    """The file at ``path``, for one set of settings.

    Args:
        path: Its folder has to be there.
        settings: Model and options; annotations of other settings are kept beside these.
    """

    def __init__(self, path: Path, *, settings: str = "") -> None:
        self.path, self.settings = path, settings

    def missing(self, items: Iterable[PictureFile]) -> list[PictureFile]:
        """Those of ``items`` that have no annotation, or changed since, or whose labels were not read at all."""
        with self._open() as database:
            query = """SELECT name, stamp FROM annotations WHERE settings = ?
                AND coalesce(json_extract(annotation, '$.reading'), '') NOT IN ('late', 'failed')"""
            known = dict(database.execute(query, (self.settings,)).fetchall())
        return [item for item in items if known.get(item.name) != item.stamp]

    @contextmanager
    def writing(self) -> Iterator[Put]:
        """A function that keeps the annotations of some files: all of them, or none if the process is killed."""
        with self._open() as database:  # one connection: the last to close has the whole log written into the file

            def put(items: Sequence[PictureFile], annotations: Sequence[Annotation]) -> None:
                rows = [
                    (item.name, self.settings, item.stamp, annotation.model_dump_json())
                    for item, annotation in zip(items, annotations, strict=True)
                ]
                with database:
                    database.executemany("INSERT OR REPLACE INTO annotations VALUES (?, ?, ?, ?)", rows)

            yield put

    def read(self, names: Iterable[str]) -> Iterator[Annotation]:
        """Annotations of these files, in this order; a file without one is left out."""
        query = "SELECT annotation FROM annotations WHERE name = ? AND settings = ?"
        with self._open() as database:
            for name in names:
                row = database.execute(query, (name, self.settings)).fetchone()
                if row is not None:
                    yield Annotation.model_validate_json(row[0])

    def latest(self) -> dict[str, Annotation]:
        """File -> its annotation that was made last, whatever the settings."""
        with self._open() as database:
            rows = database.execute("SELECT name, annotation FROM annotations ORDER BY rowid").fetchall()
        return {name: Annotation.model_validate_json(kept) for name, kept in rows}

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection; what the block has not committed is one transaction."""
        try:
            opened = open_shared(self.path, wait_seconds=10, prepare=lambda database: database.execute(_SCHEMA))
            with closing(opened) as connection, connection:
                yield connection
        except sqlite3.Error as error:
            raise DataError(f"{self.path}: the annotations cannot be read or written: {error}") from error
