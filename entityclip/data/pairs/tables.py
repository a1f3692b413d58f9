"""Writing and reading the tables, shard by shard."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from entityclip.data.pairs.schemas import PAIRS, SCHEMA_VERSION
from entityclip.errors import DataError
from entityclip.paths import DataLayout
from entityclip.schemas import OpenSplit, Split
from entityclip.storage import atomic_write, durable_rename, temporary_name

SHARD_BYTES = 256 * 2**20
ROW_GROUP_BYTES = 4 * 2**20
"""Size of a row group: it is buffered while writing, and read as a whole to get a single row."""


# ---------------------------------------------------------------- writing
class ShardWriter:
    """Writes rows into ``folder`` as shards of about ``shard_bytes`` each, one series per ``name``.

    Shards have temporary names until ``close``, so readers never see the output of a killed writer.
    The same rows always give the same bytes.
    """

    def __init__(self, folder: Path, schema: pa.Schema, *, name: str, shard_bytes: int = SHARD_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._schema, self._name, self._shard_bytes = folder, schema, name, shard_bytes
        self._rows: list[dict[str, Any]] = []
        self._waiting = self._written = 0  # bytes in _rows; bytes in the open shard
        self._parts: list[Path] = []
        self._open: pq.ParquetWriter | None = None

    def add(self, row: dict[str, Any]) -> None:
        """Append one row; its keys are the schema's columns."""
        self._rows.append(row)
        image = row.get("image")
        self._waiting += 512 + (len(image["bytes"]) if image else 0)
        if self._waiting >= min(ROW_GROUP_BYTES, self._shard_bytes):
            self._write_group()

    def _write_group(self) -> None:
        if self._open is None:
            self._parts.append(self._folder / temporary_name(f"{self._name}-{len(self._parts):05d}"))
            self._open = pq.ParquetWriter(self._parts[-1], self._schema, compression="zstd")
        self._open.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._written += self._waiting
        self._rows, self._waiting = [], 0
        if self._written >= self._shard_bytes:
            self._close_shard()

    def _close_shard(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open, self._written = None, 0

    def close(self) -> int:
        """Give the shards their final names; returns their number. An empty series has one empty shard."""
        if self._rows or not self._parts:
            self._write_group()
        self._close_shard()
        for i, part in enumerate(self._parts):
            durable_rename(part, self._folder / f"{self._name}-{i:05d}-of-{len(self._parts):05d}.parquet")
        return len(self._parts)


class PairsWriter:
    """Writes pairs into ``folder``, one series of shards for each split.

    A split without pairs has no shard at all: Hugging Face ``datasets`` refuses a folder with an empty split.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[Split, ShardWriter] = {}
        self._counts: dict[Split, int] = dict.fromkeys(get_args(OpenSplit), 0)

    def add(self, row: dict[str, Any]) -> None:
        """Append one pair to the series of its ``split``."""
        split: Split = row["split"]
        if split not in self._writers:
            self._writers[split] = ShardWriter(self._folder, PAIRS, name=split)
        self._writers[split].add(row)
        self._counts[split] = self._counts.get(split, 0) + 1

    def close(self) -> dict[Split, int]:
        """Give the shards their final names; returns the pairs per split; ``sealed`` only if there are any."""
        for writer in self._writers.values():
            writer.close()
        return self._counts


def write_rows(folder: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]], *, name: str) -> int:
    """Write ``rows`` as one series of shards; returns their number."""
    writer, count = ShardWriter(folder, schema, name=name), 0
    for row in rows:
        writer.add(row)
        count += 1
    writer.close()
    return count


def start(data: DataLayout) -> None:
    """Empty the folder; it is complete only after ``finish``."""
    shutil.rmtree(data.root, ignore_errors=True)
    data.root.mkdir(parents=True)


def finish(data: DataLayout, **counts: int) -> None:
    """Mark the folder as complete, with its row counts."""
    marker = json.dumps({"schema_version": SCHEMA_VERSION, **counts}, indent=1, sort_keys=True)
    atomic_write(data.marker, marker + "\n")


# ---------------------------------------------------------------- reading
def require_complete(data: DataLayout) -> dict[str, int]:
    """The marker's counts.

    Raises:
        DataError: The folder is missing, incomplete, or has another schema version.
    """
    if not data.marker.is_file():
        raise DataError(f"{data.root}: no {data.marker.name}, so the data are missing or half-written; ingest again")
    try:
        counts: dict[str, int] = json.loads(data.marker.read_text())
    except ValueError as error:
        raise DataError(f"{data.marker}: damaged ({error}); ingest again, or `dvc checkout` a version") from error
    if counts.get("schema_version") != SCHEMA_VERSION:
        found = counts.get("schema_version")
        raise DataError(f"{data.marker}: schema version {found}, expected {SCHEMA_VERSION}; ingest again")
    return counts


def evaluation_split(data: DataLayout) -> Split:
    """The split that decides: test, or val if the data have no test pictures.

    Raises:
        DataError: As ``require_complete``.
    """
    return "test" if require_complete(data).get("test", 0) else "val"


def shards(folder: Path, *, name: str = "*") -> list[Path]:
    """The shards of a series (or of all), in order; empty if only other series exist (an empty split).

    Raises:
        DataError: The folder holds no shard at all, or a shard of the series is missing.
    """
    if not any(folder.glob("*-of-*.parquet")):
        raise DataError(
            f"{folder}: no Parquet shard; the data are missing; restore them with `dvc checkout` or ingest again"
        )
    found = sorted(folder.glob(f"{name}-*-of-*.parquet"))
    series = Counter((path.name[: -len("00000-of-00001.parquet")], path.stem[-5:]) for path in found)
    for (prefix, total), count in series.items():
        if count != int(total):
            raise DataError(
                f"{folder}: {count} of {int(total)} shards {prefix}* exist; restore it with `dvc checkout` or ingest"
            )
    return found


def read_frame(folder: Path, *, name: str = "*", columns: list[str] | None = None) -> pd.DataFrame:
    """All rows of a series, by default all columns except the picture bytes. A damaged shard raises DataError."""
    paths = shards(folder, name=name)
    frames = []
    for path in paths or shards(folder)[:1]:  # an empty split takes its columns from another one
        with reading(path):
            wanted = [c for c in pq.read_schema(path).names if c != "image"] if columns is None else columns
            frames.append(pq.read_table(path, columns=wanted).to_pandas())
    return pd.concat(frames, ignore_index=True) if paths else frames[0].iloc[:0]


def iter_rows(folder: Path, *, name: str = "*", columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows as dicts with picture bytes; reads 32 at a time, so memory use is constant."""
    for path in shards(folder, name=name):
        yield from iter_shard(path, columns=columns)


def iter_shard(path: Path, *, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """As ``iter_rows``, for one shard."""
    with reading(path):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=32, columns=columns):
            yield from batch.to_pylist()


@contextmanager
def reading(shard: Path) -> Iterator[None]:
    """Convert errors of the Parquet reader about a damaged shard into a DataError that names it."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{shard}: damaged ({reason}); ingest again, or `dvc checkout` a version") from error
