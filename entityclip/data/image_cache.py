"""Pictures for training, as squares by row number: decoded once and memory-mapped, or streamed from the shards.

A split whose squares fit into ``most_bytes`` is decoded once into one file of the cache; later runs map it in
milliseconds. A larger one is streamed (``streamed.py``). Both give the same bytes for the same rows, and both go
through pickle, so that every worker of a ``DataLoader`` reads for itself.
"""

from __future__ import annotations

import errno
import math
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

from entityclip.data import images
from entityclip.data.image_stream import Streamed, require_rows
from entityclip.data.images import Preprocessing
from entityclip.data.pairs import digest, read_frame, require_complete
from entityclip.errors import DataError, WorkspaceError
from entityclip.paths import DataLayout, DecodedLayout
from entityclip.schemas import Split
from entityclip.storage import atomic_path


class SplitImages(Protocol):
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
    data: DataLayout,
    *,
    split: Split,
    preprocessing: Preprocessing,
    cache: DecodedLayout | None,
    most_bytes: int,
    progress: bool = True,
) -> SplitImages:
    """One split of a data version as squares.

    Args:
        data: A complete data version.
        split: Whose pictures.
        preprocessing: How a picture becomes a square, and of which size.
        cache: Where decoded squares are kept; None keeps nothing and streams.
        most_bytes: A split with more bytes of squares (3 * size**2 for each picture) than this is streamed.
        progress: Show a progress bar on standard error while the pictures are decoded into the cache.

    Raises:
        DataError: The data are incomplete or damaged, or the split is empty.
        WorkspaceError: The squares do not fit on the disk of ``cache``.
    """
    require_complete(data)
    streamed = Streamed(data, split=split, preprocessing=preprocessing)
    if not len(streamed):
        raise DataError(f"{data.pairs}: split {split!r} holds no pair, so there are no pictures to read")
    if cache is None or math.prod(streamed.shape) > most_bytes:
        return streamed
    key = _key(data, split=split, preprocessing=preprocessing)
    return _decoded_once(streamed, cache, split=split, key=key, progress=progress)


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
        self.shape, self.dtype = self._squares.shape, self._squares.dtype

    def __len__(self) -> int:
        return len(self._squares)

    def read(self, rows: np.ndarray) -> torch.Tensor:
        """As in ``SplitImages``."""
        require_rows(rows, count=len(self))
        return torch.from_numpy(np.take(self._squares, rows, axis=0))

    def arrange(self, rows: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG002 (any order is cheap)
        """The rows as they are."""
        return rows

    def __reduce__(self) -> tuple[type[MemoryMapped], tuple[Path]]:
        return MemoryMapped, (self.path,)  # a memmap is pickled with all it holds


# ---------------------------------------------------------------- the cache
def _key(data: DataLayout, *, split: Split, preprocessing: Preprocessing) -> str:
    """What the squares depend on: the pictures, in order, and how and by which code they become squares.

    Texts are no part of it: a data version with better explanations finds its pictures decoded.
    """
    pictures = read_frame(data.pairs, name=split, columns=["image_sha256"])["image_sha256"]
    how = preprocessing.model_dump_json(exclude={"mean", "std"})
    return digest(how, Path(images.__file__).read_bytes(), PIL.__version__, "".join(pictures))


def _decoded_once(streamed: Streamed, cache: DecodedLayout, *, split: Split, key: str, progress: bool) -> MemoryMapped:
    """The squares in the cache, decoded now if they are not there; other processes wait for the one that decodes.

    The cache keeps one file for each split and side: what other data or code left goes before a new one is written.
    """
    side = streamed.preprocessing.size
    path = cache.squares(split, side=side, key=key)
    if found := _found(path, shape=streamed.shape):
        return found
    cache.root.mkdir(parents=True, exist_ok=True)
    with FileLock(cache.lock(split, side=side)):
        if found := _found(path, shape=streamed.shape):
            return found
        for stale in cache.stale(split, side=side):
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        _write(path, streamed, progress=progress)
    return MemoryMapped(path)


def _found(path: Path, *, shape: tuple[int, ...]) -> MemoryMapped | None:
    """The squares at ``path``, if they are there, whole, and of this shape in uint8."""
    try:
        found = MemoryMapped(path)
    except DataError:
        return None
    return found if found.shape == shape and found.dtype == np.uint8 else None


def _write(path: Path, streamed: Streamed, *, progress: bool) -> None:
    """All squares at ``path``, or nothing."""
    needed, free = math.prod(streamed.shape), shutil.disk_usage(path.parent).free
    no_room = WorkspaceError(
        f"{path.parent}: the decoded pictures need {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB were free; make room, or "
        "lower how many bytes of them may be kept, and they are streamed"
    )
    if needed > free:
        raise no_room
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            _write_squares(file, streamed, progress=progress)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_room from error
        raise


def _write_squares(file: BinaryIO, streamed: Streamed, *, progress: bool) -> None:
    # Written in order and not through a map: on a full disk, a map ends the process with SIGBUS.
    header = {"descr": "|u1", "fortran_order": False, "shape": streamed.shape}
    np.lib.format.write_array_header_1_0(file, header)
    squares = tqdm(_all_squares(streamed), total=len(streamed), desc="decode", unit="picture", disable=not progress)
    for square in squares:
        file.write(square.data)


def _all_squares(streamed: Streamed) -> Iterator[np.ndarray]:
    """(3, S, S) uint8 of every row, in order. Threads are enough: Pillow decodes and resizes without the GIL."""
    groups = streamed.groups
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for group in range(len(groups.places)):
            square = partial(streamed.square, group=group, files=groups.read(group))
            yield from pool.map(square, range(*groups.first[group : group + 2].tolist()))
