"""Training pictures as squares by row number: decoded once and memory-mapped, or streamed from the shards.

A split whose squares fit into ``most_bytes`` is decoded once into one cache file; later runs map it in milliseconds.
A larger split is streamed (``image_stream.py``). Both give the same bytes for the same rows, and both can be pickled,
so that every worker of a ``DataLoader`` reads on its own.
"""

from __future__ import annotations

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

from entityclip.data.image_stream import Streamed, require_rows
from entityclip.data.pairs import digest, read_frame, require_complete
from entityclip.data.preprocessing import Preprocessing
from entityclip.errors import DataError, WorkspaceError
from entityclip.paths import DataLayout, DecodedLayout
from entityclip.schemas import Split
from entityclip.storage import atomic_path, disk_full_error

_CODE = [Path(__file__).with_name(name) for name in ("color.py", "images.py", "preprocessing.py")]
"""From a file's bytes to a square."""


class SplitImages(Protocol):
    """The pictures of one split, in the order of its rows."""

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> torch.Tensor:
        """(B,) row numbers from 0 -> (B, 3, S, S) uint8, in the given order; rows may repeat.

        Raises:
            DataError: A shard is damaged, or a picture in it cannot be decoded.
            IndexError: There is no such row.
        """

    def arrange(self, rows: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
        """Reorder the shuffled rows of an epoch so that they are cheap to read; depends only on ``rng``."""


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
        split: Split to open.
        preprocessing: How a picture becomes a square, and of which size.
        cache: Folder of decoded squares; None always streams.
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
    """Decoded squares in a ``.npy`` file of (N, 3, S, S) uint8, whose pages all workers share.

    Raises:
        DataError: The file is missing or incomplete.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._squares = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: no decoded pictures ({error}); run again to decode them") from error
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
        return MemoryMapped, (self.path,)  # pickling a memmap would copy its content


# ---------------------------------------------------------------- the cache
def _key(data: DataLayout, *, split: Split, preprocessing: Preprocessing) -> str:
    """Cache key: the pictures in order, the preprocessing, and its code.

    Texts are not part of the key: a data version with new explanations reuses the decoded pictures.
    """
    pictures = read_frame(data.pairs, name=split, columns=["image_sha256"])["image_sha256"]
    how = preprocessing.model_dump_json(exclude={"mean", "std"})
    return digest(how, *(file.read_bytes() for file in _CODE), PIL.__version__, "".join(pictures))


def _decoded_once(streamed: Streamed, cache: DecodedLayout, *, split: Split, key: str, progress: bool) -> MemoryMapped:
    """The cached squares, decoded first if missing; other processes wait for the one that decodes.

    The cache holds one file per split and side: files of other data or code are deleted before writing.
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
    """The squares at ``path``, if the file is complete and has this shape in uint8."""
    try:
        found = MemoryMapped(path)
    except DataError:
        return None
    return found if found.shape == shape and found.dtype == np.uint8 else None


def _write(path: Path, streamed: Streamed, *, progress: bool) -> None:
    """Write all squares to ``path`` atomically."""
    needed, free = math.prod(streamed.shape), shutil.disk_usage(path.parent).free
    no_room = (
        f"{path.parent}: the decoded pictures need {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; make room, "
        "or lower the cache limit to stream them"
    )
    if needed > free:
        raise WorkspaceError(no_room)
    with disk_full_error(no_room), atomic_path(path) as temporary, temporary.open("wb") as file:
        _write_squares(file, streamed, progress=progress)


def _write_squares(file: BinaryIO, streamed: Streamed, *, progress: bool) -> None:
    # Written sequentially: on a full disk, writing to a memory map would kill the process with SIGBUS.
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
