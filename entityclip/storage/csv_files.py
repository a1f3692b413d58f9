"""CSV files for people: no cell runs as a formula in a spreadsheet, and reading gives every text back as it was.

A cell that a spreadsheet would run gets an apostrophe before it, as spreadsheets themselves mark text. Texts that
begin with apostrophes and then such a character get one more, so that exactly one is taken away again.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TextIO, TypeVar

import pandas as pd
from pydantic import BaseModel, ValidationError

from entityclip.errors import DataError, faults
from entityclip.storage.atomic import atomic_path

R = TypeVar("R", bound=BaseModel)

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""What starts a formula, behind any apostrophes; Japanese spreadsheets take the wide characters as well."""


def guarded(cell: object) -> object:
    """The cell as it is written; only texts change."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """The text that ``guarded`` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


class CsvWriter:
    """Writes rows of guarded cells, of which None becomes an empty one."""

    def __init__(self, stream: TextIO) -> None:
        self._plain = csv.writer(stream, lineterminator="\n")
        # Python 3.11 leaves a carriage return unquoted, which readers take for the end of the row.
        self._quoting = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(self, row: Iterable[object]) -> None:
        """Append one row."""
        cells = [guarded(cell) for cell in row]
        returns = any(isinstance(cell, str) and "\r" in cell for cell in cells)
        (self._quoting if returns else self._plain).writerow(cells)


@contextmanager
def csv_file(
    path: Path, columns: Iterable[str], *, encoding: str = "utf-8", mode: int | None = None
) -> Iterator[CsvWriter]:
    """A writer of rows below a header; the file is there, whole, after the block.

    Args:
        path: Replaced when it is there.
        columns: The header.
        encoding: ``utf-8-sig`` for a file that Excel opens by a double click.
        mode: Permissions, as of ``atomic_write``.
    """
    with (
        atomic_path(path, mode=mode) as temporary,
        # Names of files may hold bytes that are no text.
        temporary.open("w", encoding=encoding, errors="backslashreplace", newline="") as stream,
    ):
        writer = CsvWriter(stream)
        writer.write(columns)
        yield writer


def write_table(path: Path, table: pd.DataFrame, *, mode: int | None = None) -> None:
    """Write a table without its index; missing values become empty cells."""
    with csv_file(path, map(str, table.columns), mode=mode) as writer:
        for row in table.astype(object).where(table.notna(), None).itertuples(index=False, name=None):
            writer.write(row)


def read_rows(stream: TextIO | str, *, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """Each row as column -> text, without guards, from an open file or its text.

    Raises:
        csv.Error: It is no CSV file, or a row has more or fewer cells than the header.
    """
    opened = io.StringIO(stream, newline="") if isinstance(stream, str) else stream
    for number, row in enumerate(csv.DictReader(opened, delimiter=delimiter, strict=True), 1):
        if None in row or None in row.values():
            raise csv.Error(f"row {number} has more or fewer cells than the header")
        yield _without_guards(row)


def _without_guards(row: Mapping[str, str]) -> dict[str, str]:
    return {column: unguarded(cell) for column, cell in row.items()}


def read_table(path: Path, *, most: int | None = None) -> pd.DataFrame:
    """What ``write_table`` wrote, every cell as text; at most the first ``most`` rows.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no CSV file in UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            header = next(csv.reader(stream, strict=True), [])
            stream.seek(0)
            return pd.DataFrame(list(islice(read_rows(stream), most)), columns=header, dtype="str")
    except csv.Error as error:
        raise ValueError(f"{path}: {error}") from error


def read_records(path: Path, kind: type[R], *, remedy: str) -> list[R]:
    """The rows of a CSV file as records; none if there is no file.

    Args:
        path: The file.
        kind: What a row is.
        remedy: What to do about a damaged file.

    Raises:
        DataError: The file is damaged; names the row.
    """
    rows: list[R] = []
    try:
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                rows.extend(kind.model_validate(cells) for cells in read_rows(file))
    except (ValidationError, UnicodeDecodeError, csv.Error) as error:
        reason = faults(error) if isinstance(error, ValidationError) else str(error)
        raise DataError(f"{path}, row {len(rows) + 1}: {reason}; {remedy}") from None
    return rows
