"""The files to annotate: those of a folder, or those that a table names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from entityclip.data.sources.base import read_picture, stamp
from entityclip.data.sources.table_files import SUFFIXES as TABLES
from entityclip.data.sources.table_files import open_table
from entityclip.errors import SourceError
from entityclip.schemas import Rejection


@dataclass(frozen=True)
class PictureFile:
    """One file to annotate."""

    name: str
    """Relative to ``folder``, with slashes."""
    folder: Path
    """Resolved."""
    problem: str = ""
    """Why it cannot be read; '' if nothing is known against it."""

    @property
    def stamp(self) -> str:
        """Name, size and modification time: an unchanged file is not annotated again."""
        return stamp(self.folder, self.name)

    def read(self) -> bytes:
        """The file's content.

        Raises:
            ImageError: It is missing, too large, no regular file, or outside the folder.
        """
        return read_picture(self.folder, self.name)


def picture_files(place: Path, *, column: str = "file") -> list[PictureFile]:
    """Files in the folder ``place``, sorted by name, or those that the table ``place`` names, in its order.

    Files in folders below are listed, hidden ones are left out. Everything else is listed, so that a file that is no
    picture gets its reason.
    A file that a table names twice is listed once.

    Args:
        place: A folder, or a table as for ingest: CSV, TSV, JSONL or Parquet. Paths are relative to the table's folder.
        column: Column with the file names.

    Raises:
        SourceError: There is no such folder or table, the table has no such column, or there is no file.
    """
    if place.is_dir():
        folder = place.resolve()
        found = [_item(name, folder) for name in sorted(_files(folder))]
    elif place.suffix.lower() in TABLES:
        found = list(_listed(place, column))
    else:
        raise SourceError(f"{place}: expected a folder of pictures, or a table that ends in {', '.join(TABLES)}")
    if not found:
        raise SourceError(f"{place}: no file to annotate")
    return found


def _item(name: str, folder: Path) -> PictureFile:
    shown = name.encode(errors="backslashreplace").decode()
    return PictureFile(shown, folder, "" if shown == name else "the file name is not UTF-8")


def _files(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                yield Path(parent, name).relative_to(folder).as_posix()


def _listed(place: Path, column: str) -> Iterator[PictureFile]:
    table, folder, seen = open_table(place), place.parent.resolve(), set()
    table.require_column(column)
    for row in table.rows():
        if isinstance(row, Rejection):
            yield PictureFile(f"{row.file} row {row.row}", folder, row.reason)
            continue
        number, cells = row
        names = cells.get(column, ())
        if not names:
            yield PictureFile(f"{place.name} row {number}", folder, f"no file in column {column!r}")
        for name in names:
            if name not in seen:
                seen.add(name)
                yield PictureFile(name, folder)
