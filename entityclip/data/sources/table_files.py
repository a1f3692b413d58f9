"""Tables on disk, row by row and as text: CSV, TSV, JSONL, Parquet.

Every cell is read as text, because type inference destroys model numbers: "00123" is not 123, "1E5" is not 100000, and
"NA" is not a missing value.
"""

from __future__ import annotations

import codecs
import csv
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from entityclip.errors import ConfigError, SourceError
from entityclip.schemas import Rejection

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
Row = dict[str, tuple[str, ...]]
"""Column -> its texts, stripped; empty ones are left out. Lists (JSONL, Parquet) hold several, other cells one."""
_BROKEN_PARQUET = (pa.ArrowException, OSError, UnicodeDecodeError)


class Table(ABC):
    """A table on disk. A row that cannot be read is a Rejection; a table that cannot be read is a SourceError."""

    columns: tuple[str, ...]
    encoding = ""
    """Text encoding that the table is read in; empty where the kind of file settles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def _records(self) -> Iterator[Mapping[str, Any] | str]:
        """Raw rows in order; the reason in place of a row that cannot be read."""

    def rows(self) -> Iterator[tuple[int, Row] | Rejection]:
        """Rows with their number, from 1 without the header."""
        for number, record in enumerate(self._records(), start=1):
            if isinstance(record, str):
                yield Rejection(file=self.path.name, row=number, reason=record)
            else:
                yield number, {column: _texts(value) for column, value in record.items()}

    @cached_property
    def _length(self) -> int:
        return sum(1 for _ in self._records())

    def __len__(self) -> int:
        return self._length

    def require_column(self, column: str) -> str:
        """Return ``column``.

        Raises:
            SourceError: The table has no such column.
        """
        if column not in self.columns:
            raise SourceError(f"{self.path}: no column {column!r}; it has: {', '.join(self.columns)}")
        return column


def open_table(path: Path, *, encoding: str | None = None, origin: str = "") -> Table:
    """Open the table at ``path``; the suffix determines the format.

    Args:
        path: The table.
        encoding: Encoding of a text table. None detects UTF-8, and cp932 (Shift_JIS) by its kana.
        origin: Where ``encoding`` was set, as a prefix of messages.

    Raises:
        SourceError: The table is missing, empty, in an unknown format or another encoding, or has an invalid header.
        ConfigError: Python does not know the encoding.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SourceError(f"{path}: expected a table that ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise SourceError(f"{path}: no such table")
    if path.stat().st_size == 0:
        raise SourceError(f"{path}: the table is empty")
    if path.suffix.lower() == ".parquet":
        return ParquetTable(path)
    if encoding is None:
        encoding = "cp932" if _is_shift_jis(path) else "utf-8"
    _require_decodable(path, encoding, origin=origin)
    kind = JsonLines if path.suffix.lower() == ".jsonl" else Delimited
    return kind(path, encoding=encoding)


class Delimited(Table):
    """CSV or TSV with a header. A .csv is split at semicolons or tabs if the header has more of them than commas."""

    def __init__(self, path: Path, *, encoding: str) -> None:
        super().__init__(path)
        self.encoding = _without_bom(encoding)
        with self._open() as stream:
            header = stream.readline()
        self._delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=header.count)
        with self._open() as stream:
            names = [name.strip() for name in next(self._reader(stream), [])]
        twice = sorted({name for name in names if name and names.count(name) > 1})
        if twice:
            raise SourceError(f"{path}: the header names {', '.join(twice)} more than once; every column needs its own")
        if not any(names):
            raise SourceError(f"{path}: the first line names no column; expected a header")
        self._names, self.columns = names, tuple(filter(None, names))

    def _open(self) -> TextIO:
        return self.path.open(encoding=self.encoding, newline="")

    def _reader(self, stream: TextIO) -> Iterator[list[str]]:
        """Rows of fields. An open quote at the end would have swallowed rows, so the whole table is refused."""
        reader = csv.reader(stream, delimiter=self._delimiter, strict=True)
        try:
            yield from reader
        except csv.Error as error:
            line = reader.line_num
            raise SourceError(f"{self.path}: line {line}: {error}; look for a stray or unclosed quote") from None

    def _records(self) -> Iterator[Mapping[str, Any] | str]:
        with self._open() as stream:
            reader = self._reader(stream)
            next(reader)
            for fields in reader:
                if len(fields) == len(self._names):
                    yield dict(zip(self._names, fields, strict=True))
                elif fields:  # a blank line is not a row
                    yield f"{len(fields)} fields, but the header has {len(self._names)}"


class JsonLines(Table):
    """One JSON object per line; the columns are all keys that occur."""

    def __init__(self, path: Path, *, encoding: str) -> None:
        super().__init__(path)
        self.encoding = _without_bom(encoding)
        columns: dict[str, None] = {}
        for record in self._records():
            if not isinstance(record, str):
                columns.update(dict.fromkeys(record))
        self.columns = tuple(columns)

    def _records(self) -> Iterator[Mapping[str, Any] | str]:
        with self.path.open(encoding=self.encoding) as stream:
            for line in filter(str.strip, stream):
                yield _json_object(line)


def _json_object(line: str) -> Mapping[str, Any] | str:
    try:
        record = json.loads(line, parse_int=str, parse_float=str)
    except (json.JSONDecodeError, RecursionError) as error:
        return f"not JSON: {error}"
    return record if isinstance(record, dict) else f"expected a JSON object, found {type(record).__name__}"


class ParquetTable(Table):
    """Parquet, read in batches of rows."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            metadata = pq.read_metadata(path)
            self.columns, self._rows = tuple(metadata.schema.to_arrow_schema().names), int(metadata.num_rows)
        except _BROKEN_PARQUET as error:
            raise SourceError(f"{path}: not a readable Parquet file: {error}") from None

    def __len__(self) -> int:
        return self._rows

    def _records(self) -> Iterator[Mapping[str, Any] | str]:
        try:
            for batch in pq.ParquetFile(self.path).iter_batches(batch_size=1024):
                yield from batch.to_pylist()
        except _BROKEN_PARQUET as error:
            raise SourceError(f"{self.path}: not a readable Parquet file: {error}") from None


# ---------------------------------------------------------------- text
def _texts(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(text for text in map(as_text, values) if text)


def as_text(value: Any) -> str:
    """One cell as stripped text; empty if it has no value."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    # JSON can spell half of a surrogate pair, which nothing after this could write down.
    return str(value).encode("utf-8", "replace").decode().strip()


def _without_bom(encoding: str) -> str:
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


_KANA = re.compile("[ぁ-ヶ]")


def _is_shift_jis(path: Path) -> bool:
    """Whether the bytes are not UTF-8 but Shift_JIS with kana, which hardly occur in Western encodings."""
    if _first_wrong_byte(path, "utf-8") is None:
        return False
    return _first_wrong_byte(path, "cp932") is None and _holds_kana(path)


def _holds_kana(path: Path) -> bool:
    with path.open(encoding="cp932", newline="") as stream:
        return any(_KANA.search(chunk) for chunk in iter(lambda: stream.read(2**20), ""))


def _require_decodable(path: Path, encoding: str, *, origin: str) -> None:
    """Refuse a table in another encoding before any row is used; the error has the position of the first wrong byte."""
    try:
        "".encode(encoding)  # refuses codecs that are not for text, like hex and zlib
        wrong = _first_wrong_byte(path, encoding)
    except (LookupError, ValueError):
        raise ConfigError(
            f"{origin}{path}: Python knows no text encoding {encoding!r}; write for example cp932 or utf-8"
        ) from None
    if wrong is not None:
        raise SourceError(
            f"{origin}{path}: byte {wrong} is not {encoding}; save the table as UTF-8, or name its encoding in the "
            "mapping (Excel and Shift_JIS in Japan: encoding: cp932; Excel in the West: encoding: cp1252)"
        )


def _first_wrong_byte(path: Path, encoding: str) -> int | None:
    """Position of the first byte that this encoding cannot decode; None if there is none."""
    decoder, position = codecs.getincrementaldecoder(encoding)(), 0
    with path.open("rb") as stream:
        while True:
            chunk = stream.read(2**20)
            waiting = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                return position - waiting + error.start
            if not chunk:
                return None
            position += len(chunk)
