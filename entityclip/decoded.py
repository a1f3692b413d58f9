"""Pictures for training, as squares by row number: decoded once and memory-mapped, or streamed from the shards.

A split whose squares fit into ``most_bytes`` is decoded once into one file of the cache; later runs map it in
milliseconds. A larger one is streamed (``streamed.py``). Both give the same bytes for the same rows, and both go
through pickle, so that every worker of a ``DataLoader`` reads for itself.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import PIL
import torch
from filelock import FileLock
from tqdm import tqdm

from entityclip import images
from entityclip.errors import DataError, WorkspaceError
from entityclip.layout import DataLayout, DecodedLayout
from entityclip.pairs import digest, read_frame, require_complete
from entityclip.records import Split
from entityclip.streamed import Streamed, require_rows


class Pictures(Protocol):
    """The pictures of one split, in the order of its rows."""

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> torch.Tensor:
        """(B,) row numbers from 0 -> (B, 3, S, S) uint8, in the order asked for; a row may come twice.

        Raises:
            DataError: A shard is damaged, or a picture in it cannot be decoded.
            IndexError: There is no such row.
        """

    def arrange(self, rows: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
        """An epoch's rows, already in random order, in one that is cheap to read; it depends on ``rng`` alone."""


def open_pictures(
    data: DataLayout, *, split: Split, side: int, cache: DecodedLayout | None, most_bytes: int, progress: bool = True
) -> Pictures:
    """One split of a data version as squares of ``side`` pixels.

    Args:
        data: A complete data version.
        split: Whose pictures.
        side: Side of the squares, pixels.
        cache: Where decoded squares are kept; None keeps nothing and streams.
        most_bytes: A split with more bytes of squares (3 * side**2 for each picture) than this is streamed.
        progress: Show a progress bar on standard error while the pictures are decoded into the cache.

    Raises:
        DataError: The data are incomplete or damaged, or the split is empty.
        WorkspaceError: The squares do not fit on the disk of ``cache``.
    """
    require_complete(data)
    streamed = Streamed(data, split=split, side=side)
    if not len(streamed):
        raise DataError(f"{data.pairs}: split {split!r} holds no pair, so there are no pictures to read")
    if cache is None or len(streamed) * 3 * side**2 > most_bytes:
        return streamed
    return _decoded_once(streamed, cache, split=split, key=_key(data, split=split), progress=progress)


class MemoryMapped:
    """Squares that were decoded once: a ``.npy`` file of (N, 3, S, S) uint8, whose pages all workers share.

    Raises:
        DataError: The file is missing or is not whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._squares = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: no decoded pictures ({error}); start again, and they are decoded anew") from error
        self.shape: tuple[int, ...] = self._squares.shape

    def __len__(self) -> int:
        return len(self._squares)

    def read(self, rows: np.ndarray) -> torch.Tensor:
        """As in ``Pictures``."""
        require_rows(rows, count=len(self))
        return torch.from_numpy(np.take(self._squares, rows, axis=0))

    def arrange(self, rows: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG002 (any order is cheap)
        """The rows as they are."""
        return rows

    def __reduce__(self) -> tuple[type[MemoryMapped], tuple[Path]]:
        return MemoryMapped, (self.path,)  # a memmap is pickled with all it holds


# ---------------------------------------------------------------- the cache
def _key(data: DataLayout, *, split: Split) -> str:
    """What the squares depend on beside their side: the pictures, in order, and the code that decodes.

    Texts are no part of it: a data version with better explanations finds its pictures decoded.
    """
    pictures = read_frame(data.pairs, name=split, columns=["image_sha256"])["image_sha256"]
    return digest(Path(images.__file__).read_bytes(), PIL.__version__, "".join(pictures))


def _decoded_once(streamed: Streamed, cache: DecodedLayout, *, split: Split, key: str, progress: bool) -> MemoryMapped:
    """The squares in the cache, decoded now if they are not there; other processes wait for the one that decodes.

    The cache keeps one file for each split and side: what other data or code left goes before a new one is written.
    """
    side = streamed.side
    path, shape = cache.squares(split, side=side, key=key), (len(streamed), 3, side, side)
    if found := _found(path, shape=shape):
        return found
    cache.root.mkdir(parents=True, exist_ok=True)
    with FileLock(cache.lock(split, side=side)):
        if found := _found(path, shape=shape):
            return found
        for stale in cache.stale(split, side=side):
            stale.unlink()
        _write(path, streamed, shape=shape, progress=progress)
    return MemoryMapped(path)


def _found(path: Path, *, shape: tuple[int, ...]) -> MemoryMapped | None:
    """The squares at ``path``, if they are there, whole, and of this shape."""
    try:
        found = MemoryMapped(path)
    except DataError:
        return None
    return found if found.shape == shape else None


def _write(path: Path, streamed: Streamed, *, shape: tuple[int, ...], progress: bool) -> None:
    """All squares at ``path``, or nothing."""
    needed, free = int(np.prod(shape)), shutil.disk_usage(path.parent).free
    no_room = WorkspaceError(
        f"{path.parent}: the decoded pictures need {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB were free; make room, or "
        "lower how many bytes of them may be kept, and they are streamed"
    )
    if needed > free:
        raise no_room
    unfinished = path.with_name(f".{path.name}.partial")
    try:
        with unfinished.open("wb") as file:
            _write_squares(file, streamed, shape=shape, progress=progress)
        unfinished.rename(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_room from error
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def _write_squares(file: BinaryIO, streamed: Streamed, *, shape: tuple[int, ...], progress: bool) -> None:
    # Written in order and not through a map: on a full disk, a map ends the process with SIGBUS.
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    squares = tqdm(_all_squares(streamed), total=len(streamed), desc="decode", unit="picture", disable=not progress)
    for square in squares:
        file.write(square.data)
    file.flush()
    os.fsync(file.fileno())


def _all_squares(streamed: Streamed) -> Iterator[np.ndarray]:
    """(3, S, S) uint8 of every row, in order. Threads are enough: Pillow decodes and resizes without the GIL."""
    groups = streamed.groups
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for group in range(len(groups.places)):
            square = partial(streamed.square, group=group, files=groups.read(group))
            yield from pool.map(square, range(*groups.first[group : group + 2].tolist()))
