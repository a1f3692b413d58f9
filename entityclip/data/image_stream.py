"""Pictures read from the shards and decoded on demand, for splits that are too large to cache.

Parquet reads whole row groups. A stream therefore holds as many as its memory allows, and the random order of an epoch
is arranged to read each of them about once.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from entityclip.data.pairs import reading, shards
from entityclip.data.preprocessing import Preprocessing
from entityclip.errors import DataError, ImageError
from entityclip.paths import DataLayout
from entityclip.schemas import Split

HELD_BYTES = 128 * 2**20
"""Bytes of picture files in memory per worker: 32 row groups as ``pairs`` writes them."""


class Streamed:
    """The pictures of one split, decoded for every batch; implements ``SplitImages`` of ``image_cache.py``.

    ``groups_read`` counts the row groups read so far.
    """

    def __init__(
        self, data: DataLayout, *, split: Split, preprocessing: Preprocessing, held_bytes: int = HELD_BYTES
    ) -> None:
        self.preprocessing = preprocessing
        self.groups = RowGroups(data.pairs, split=split)
        self.groups_read = 0
        self.window = max(1, held_bytes // max(self.groups.largest_bytes, 1))
        self._held: OrderedDict[int, pa.ChunkedArray] = OrderedDict()

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 3, S, S): shape of all pictures together."""
        return len(self), 3, self.preprocessing.size, self.preprocessing.size

    def read(self, rows: np.ndarray) -> torch.Tensor:
        """(B,) row numbers from 0 -> (B, 3, S, S) uint8, in the given order.

        Raises:
            DataError: A shard is damaged, or a picture in it cannot be decoded.
            IndexError: There is no such row.
        """
        of = self.groups.of(rows)
        squares = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        # Groups in memory first: reading another group may evict them.
        for group in sorted(np.unique(of).tolist(), key=lambda number: number not in self._held):
            files = self._files(group)
            for place in np.flatnonzero(of == group):
                squares[place] = self.square(int(rows[place]), group=group, files=files)
        return torch.from_numpy(squares)

    def arrange(self, rows: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
        """``rows`` in ``blocked_order``; a window has as many row groups as fit into memory."""
        return blocked_order(rows, groups=self.groups.of(rows), window=self.window, rng=rng)

    def square(self, row: int, *, group: int, files: pa.ChunkedArray) -> np.ndarray:
        """(3, S, S) uint8: one row of the split; ``files`` are the pictures of its row group."""
        try:
            return self.preprocessing.square_of(files[row - int(self.groups.first[group])].as_py())
        except ImageError as error:
            shard, _ = self.groups.places[group]
            within = row - self.groups.first_of_shard(shard)
            raise DataError(
                f"{shard}, row {within} from 0: {error.reason}; ingest again, or `dvc checkout` a version"
            ) from error

    def _files(self, group: int) -> pa.ChunkedArray:
        if group not in self._held:
            if len(self._held) == self.window:
                self._held.popitem(last=False)
            self._held[group] = self.groups.read(group)
            self.groups_read += 1
        self._held.move_to_end(group)
        return self._held[group]

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_held": OrderedDict()}  # row groups can be read again


class RowGroups:
    """The row groups of one split's shards.

    ``places`` holds (shard, number in the shard) of each group, ``first`` the (G + 1,) row numbers at which the groups
    begin and end, ``largest_bytes`` the memory of the largest group.
    """

    def __init__(self, folder: Path, *, split: Split) -> None:
        self.places: list[tuple[Path, int]] = []
        self.largest_bytes = 0
        sizes: list[int] = []
        for shard in shards(folder, name=split):
            with reading(shard):
                metadata = pq.read_metadata(shard)
            for number in range(metadata.num_row_groups):
                group = metadata.row_group(number)
                self.places.append((shard, number))
                self.largest_bytes = max(self.largest_bytes, group.total_byte_size)
                sizes.append(group.num_rows)
        self.first = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    def __len__(self) -> int:
        """Number of rows."""
        return int(self.first[-1])

    def of(self, rows: np.ndarray) -> np.ndarray:
        """(B,) row numbers -> (B,) the number of the group that holds each."""
        require_rows(rows, count=len(self))
        return np.searchsorted(self.first, rows, side="right") - 1

    def first_of_shard(self, shard: Path) -> int:
        """First row number of a shard."""
        return int(self.first[self.places.index((shard, 0))])

    def read(self, group: int) -> pa.ChunkedArray:
        """The picture files of one group, as stored."""
        shard, number = self.places[group]
        with reading(shard), pq.ParquetFile(shard) as file:
            # One thread: the pictures are a single column, and each worker uses one core.
            return file.read_row_group(number, columns=["image.bytes"], use_threads=False).flatten()["image.bytes"]


def blocked_order(rows: np.ndarray, *, groups: np.ndarray, window: int, rng: np.random.Generator) -> np.ndarray:
    """``rows`` shuffled so that a reader with ``window`` row groups in memory reads each group about once.

    The groups are shuffled and divided into windows; the rows of a window are shuffled. The wider the window, the
    closer to a full shuffle.

    Args:
        rows: (N,) row numbers; may repeat if rows are drawn by weight.
        groups: (N,) the row group of each.
        window: Maximum number of row groups in a window, at least 1.
        rng: The only source of randomness.
    """
    present, of = np.unique(groups, return_inverse=True)
    windows = -(-len(present) // window)
    window_of = rng.permutation(len(present)) * windows // max(len(present), 1)
    shuffled = rng.permutation(len(rows))
    return rows[shuffled[np.argsort(window_of[of[shuffled]], kind="stable")]]


def require_rows(rows: np.ndarray, *, count: int) -> None:
    """Raise IndexError for row numbers outside 0 to ``count`` - 1; numpy would count negative ones from the end."""
    if len(rows) and not (rows.min() >= 0 and rows.max() < count):
        raise IndexError(f"rows {rows.min()} to {rows.max()} requested, expected 0 to {count - 1}")
