"""Features of the training pictures, computed once: what the frozen part of an image tower makes of fixed views.

A view is a training picture varied by draws that depend on the number of the view and the row alone; view 0 is the
picture as it is. Each view is one file in half precision, memory-mapped, written whole or not at all: a killed run
loses one view at most. The key of the files holds the frozen weights, the preparation of the pictures and the
pictures' own hashes.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from tqdm import tqdm

from entityclip.data.image_cache import SplitImages
from entityclip.data.pairs import digest
from entityclip.data.preprocessing import Augmentation, Preprocessing
from entityclip.errors import WorkspaceError
from entityclip.model import frozen_part
from entityclip.model.image_towers import ImageTower
from entityclip.paths import DecodedLayout
from entityclip.storage import atomic_path
from entityclip.training import batches
from entityclip.training.batches import DRAWS, augment

CHUNK = 32
"""Pictures that the tower reads at a time."""
ROOM = "make room for the features of the pictures, or set adaptation.views lower"


@dataclass(frozen=True)
class Views:
    """How the pictures of a split are varied before the tower sees them."""

    count: int
    preprocessing: Preprocessing
    augmentation: Augmentation

    def pictures(self, squares: torch.Tensor, *, rows: np.ndarray, view: int, device: torch.device) -> torch.Tensor:
        """(B, 3, S, S) uint8 squares of these rows -> (B, 3, size, size) normalised, as this view shows them."""
        varied = self.varied(squares.to(device), rows=rows, view=view)
        return self.preprocessing.normalise(varied).contiguous(memory_format=torch.channels_last)

    def varied(self, squares: torch.Tensor, *, rows: np.ndarray, view: int) -> torch.Tensor:
        """(B, 3, S, S) uint8 squares of these rows -> (B, 3, size, size) in 0..255, as this view shows them."""
        still = Augmentation(crop=1, rotate=0, flip=False, light=0, saturation=0)
        draws = torch.stack([_draws(view, int(row)) for row in rows]).to(squares.device)
        how = self.augmentation if view else still
        return augment(squares, draws, size=self.preprocessing.size, config=how)


def _draws(view: int, row: int) -> torch.Tensor:
    return torch.rand(DRAWS, generator=torch.Generator().manual_seed(1_000_003 * view + row))


class FrozenFeatures:
    """The kept features of N pictures: one memory-mapped file (N, ...) float16 for each view."""

    def __init__(self, paths: Sequence[Path], *, blocks: int) -> None:
        self.paths, self.blocks = tuple(paths), blocks
        self._views = [np.lib.format.open_memmap(path, mode="r") for path in self.paths]

    def read(self, rows: np.ndarray, draws: torch.Tensor) -> torch.Tensor:
        """(B,) row numbers and (B,) draws in 0..1 that choose the views -> (B, ...) float16."""
        views = (draws * len(self._views)).long().clamp(max=len(self._views) - 1)
        read = [self._views[view][row] for view, row in zip(views.tolist(), rows.tolist(), strict=True)]
        return torch.from_numpy(np.stack(read))

    def __reduce__(self) -> tuple[object, ...]:
        return _opened, (self.paths, self.blocks)  # pickling a memory map would copy its content


def _opened(paths: tuple[Path, ...], blocks: int) -> FrozenFeatures:
    return FrozenFeatures(paths, blocks=blocks)


def keep_features(
    tower: ImageTower,
    pictures: SplitImages,
    *,
    hashes: Sequence[str],
    views: Views,
    blocks: Sequence[int],
    cache: DecodedLayout,
    progress: bool = True,
) -> dict[int, FrozenFeatures]:
    """The features behind each of these numbers of ``blocks``, computed where they are not kept yet.

    Args:
        tower: The image tower; its first ``max(blocks)`` blocks must not have learned since the last call.
        pictures: The N pictures of a split.
        hashes: SHA-256 of each of them.
        views: How they are varied.
        blocks: After how many blocks the output is kept; all of them in one pass.
        cache: Where the files lie; those of other weights, pictures or views are deleted.
        progress: Show a bar.

    Raises:
        ConfigError: The tower cannot be cut between its blocks.
        WorkspaceError: The features do not fit on the disk.
    """
    cuts = tuple(sorted(set(blocks)))
    key = _key(tower, hashes=hashes, views=views, blocks=cuts[-1])
    files = {cut: [cache.features(key, blocks=cut, view=view) for view in range(views.count)] for cut in cuts}
    cache.root.mkdir(parents=True, exist_ok=True)
    with FileLock(cache.features_lock):
        for stale in cache.stale_features(key):
            stale.unlink()
        missing = [v for v in range(views.count) if not all(files[cut][v].is_file() for cut in cuts)]
        bar = tqdm(total=len(missing) * len(pictures), desc="features", unit="view", disable=not progress)
        for view in missing:
            paths = {cut: files[cut][view] for cut in cuts}
            try:
                _write_view(tower, pictures, views=views, view=view, paths=paths, bar=bar)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise WorkspaceError(f"{cache.root}: the disk is full; {ROOM}") from error
                raise
        bar.close()
    return {cut: FrozenFeatures(paths, blocks=cut) for cut, paths in files.items()}


def _key(tower: ImageTower, *, hashes: Sequence[str], views: Views, blocks: int) -> str:
    weights = hashlib.sha256()
    for name, tensor in tower.state_dict().items():
        weights.update(name.encode() + tensor.detach().cpu().contiguous().float().numpy().tobytes())
    code = [Path(module.__file__ or "").read_bytes() for module in (batches, frozen_part)]
    how = (views.preprocessing.model_dump_json(), views.augmentation.model_dump_json(), str(blocks))
    return digest(weights.hexdigest(), *how, *code, "".join(hashes))


@torch.inference_mode()
def _write_view(
    tower: ImageTower, pictures: SplitImages, *, views: Views, view: int, paths: dict[int, Path], bar: tqdm[Any]
) -> None:
    """One view of every picture, behind each cut; a file appears when it is whole."""
    learning, device = tower.training, next(tower.parameters()).device
    tower.eval()
    with ExitStack() as whole:
        files = {
            cut: whole.enter_context(whole.enter_context(atomic_path(path)).open("wb")) for cut, path in paths.items()
        }
        for start in range(0, len(pictures), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(pictures)))
            shown = views.pictures(pictures.read(rows), rows=rows, view=view, device=device)
            features = frozen_part.image_features(tower, shown, blocks=tuple(paths))
            for file, tensor in zip(files.values(), features, strict=True):
                if start == 0:  # written in order: a full disk would kill a process that writes to a memory map
                    shape = (len(pictures), *tensor.shape[1:])
                    header = {"descr": "<f2", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(tensor.half().cpu().contiguous().numpy().tobytes())
            bar.update(len(rows))
    tower.train(learning)
