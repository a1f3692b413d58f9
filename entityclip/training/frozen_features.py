"""Features of the training pictures, computed once: what the frozen part of an image tower makes of fixed views.

A view is a training picture varied by draws that depend on the number of the view and the picture's hash alone; view 0
is the picture as it is. Each view is one file in half precision, memory-mapped, written whole or not at all: a killed
run loses one view at most. The name of the files holds a key of the frozen weights and the preparation, and one of the
pictures. Where pictures are added or removed, the features of the others are copied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from tqdm import tqdm

from entityclip.data.image_cache import SplitImages
from entityclip.data.pairs import digest
from entityclip.data.preprocessing import Augmentation, Preprocessing
from entityclip.model import frozen_part
from entityclip.model.image_towers import ImageTower
from entityclip.paths import DecodedLayout
from entityclip.storage import atomic_path, atomic_write, disk_full_error
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

    def pictures(
        self, squares: torch.Tensor, *, view: int, device: torch.device, names: Sequence[str] = ()
    ) -> torch.Tensor:
        """(B, 3, S, S) uint8 squares -> (B, 3, size, size) normalised, as this view shows pictures of these names."""
        varied = self.varied(squares.to(device), view=view, names=names)
        return self.preprocessing.normalise(varied).contiguous(memory_format=torch.channels_last)

    def varied(self, squares: torch.Tensor, *, view: int, names: Sequence[str] = ()) -> torch.Tensor:
        """(B, 3, S, S) uint8 squares -> (B, 3, size, size) in 0..255, as this view shows pictures of these names.

        View 0 is the same for all names.
        """
        if not view:
            still = Augmentation(crop=1, rotate=0, flip=False, light=0, saturation=0)
            draws = torch.zeros(len(squares), DRAWS, device=squares.device)
            return augment(squares, draws, size=self.preprocessing.size, config=still)
        draws = torch.stack([_draws(view, name) for name in names]).to(squares.device)
        return augment(squares, draws, size=self.preprocessing.size, config=self.augmentation)


def _draws(view: int, name: str) -> torch.Tensor:
    return torch.rand(DRAWS, generator=torch.Generator().manual_seed(int(digest(name, str(view), length=15), 16)))


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
        hashes: SHA-256 of each of them; equal ones are the same picture.
        views: How they are varied.
        blocks: After how many blocks the output is kept; all of them in one pass.
        cache: Where the files lie; those of other weights, views or pictures are deleted.
        progress: Show a bar.

    Raises:
        ConfigError: The tower cannot be cut between its blocks.
        WorkspaceError: The features do not fit on the disk.
    """
    cuts, wanted = tuple(sorted(set(blocks))), HashedPictures(pictures, hashes)
    key, of_pictures = _key(tower, views=views, blocks=cuts[-1]), digest(*hashes)
    files = {cut: [cache.features(key, of_pictures, blocks=cut, view=v) for v in range(views.count)] for cut in cuts}
    cache.root.mkdir(parents=True, exist_ok=True)
    with FileLock(cache.features_lock):
        for stale in cache.stale_features(key):
            stale.unlink()
        missing = [v for v in range(views.count) if not all(files[cut][v].is_file() for cut in cuts)]
        bar = tqdm(total=len(missing) * len(pictures), desc="features", unit="view", disable=not progress)
        with disk_full_error(f"{cache.root}: the disk is full; {ROOM}"):
            atomic_write(cache.feature_rows(key, of_pictures), "\n".join(hashes))
            for view in missing:
                paths = {cut: files[cut][view] for cut in cuts}
                kept = _former_features(cache, key, of_pictures, wanted, cuts=cuts, view=view)
                _write_view(tower, wanted, views=views, view=view, paths=paths, kept=kept, bar=bar)
                for former in cache.former_features(key, of_pictures):  # no more than one view is there twice
                    for cut in cuts:
                        cache.features(key, former, blocks=cut, view=view).unlink(missing_ok=True)
        bar.close()
        for stale in cache.stale_features(key, of_pictures):
            stale.unlink()
        return {cut: FrozenFeatures(paths, blocks=cut) for cut, paths in files.items()}


def _key(tower: ImageTower, *, views: Views, blocks: int) -> str:
    weights = hashlib.sha256()
    for name, tensor in tower.state_dict().items():
        weights.update(name.encode() + tensor.detach().cpu().contiguous().float().numpy().tobytes())
    code = [Path(module.__file__ or "").read_bytes() for module in (batches, frozen_part)]
    how = (views.preprocessing.model_dump_json(), views.augmentation.model_dump_json(), str(blocks))
    return digest(weights.hexdigest(), *how, *code)


class HashedPictures(NamedTuple):
    """The N pictures whose features are wanted."""

    pictures: SplitImages
    hashes: Sequence[str]


class FormerFeatures(NamedTuple):
    """Features of other pictures, some of which are wanted again."""

    rows: np.ndarray
    """(N,) where each wanted picture stands there; -1: nowhere."""
    features: Mapping[int, np.ndarray]
    """Cut -> (M, ...) float16, memory-mapped."""


def _former_features(
    cache: DecodedLayout, key: str, of_pictures: str, wanted: HashedPictures, *, cuts: Sequence[int], view: int
) -> FormerFeatures | None:
    """This view of the pictures that were kept before the present ones; None where there is none."""
    for former in cache.former_features(key, of_pictures):
        paths = {cut: cache.features(key, former, blocks=cut, view=view) for cut in cuts}
        if all(path.is_file() for path in paths.values()):
            names = cache.feature_rows(key, former).read_text(encoding="utf-8").split("\n")
            places = {name: row for row, name in enumerate(names)}
            rows = np.array([places.get(name, -1) for name in wanted.hashes])
            return FormerFeatures(rows, {cut: np.lib.format.open_memmap(path, mode="r") for cut, path in paths.items()})
    return None


@torch.inference_mode()
def _write_view(
    tower: ImageTower,
    wanted: HashedPictures,
    *,
    views: Views,
    view: int,
    paths: dict[int, Path],
    kept: FormerFeatures | None,
    bar: tqdm[Any],
) -> None:
    """One view of every picture, behind each cut; a file appears when it is whole."""
    learning, device = tower.training, next(tower.parameters()).device
    tower.eval()
    known = np.full(len(wanted.hashes), -1) if kept is None else kept.rows
    with ExitStack() as whole:
        files = {
            cut: FeatureFile(whole.enter_context(whole.enter_context(atomic_path(path)).open("wb")), len(known))
            for cut, path in paths.items()
        }
        for rows in _chunks(np.flatnonzero(known >= 0)):
            for cut, file in files.items():
                assert kept is not None
                file.write(rows, kept.features[cut][known[rows]])
            bar.update(len(rows))
        for rows in _chunks(np.flatnonzero(known < 0)):
            # Always as many at a time: the last digits depend on the size of a batch.
            full = np.resize(rows, CHUNK)
            names = [wanted.hashes[row] for row in full]
            shown = views.pictures(wanted.pictures.read(full), view=view, device=device, names=names)
            features = frozen_part.image_features(tower, shown, blocks=tuple(paths))
            for file, tensor in zip(files.values(), features, strict=True):
                file.write(rows, tensor[: len(rows)].half().cpu().contiguous().numpy())
            bar.update(len(rows))
    tower.train(learning)


def _chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))


class FeatureFile:
    """An .npy of ``count`` rows in any order. Not a memory map: a full disk would kill a process that writes to one."""

    def __init__(self, file: BinaryIO, count: int) -> None:
        self._file, self._count, self._begin = file, count, 0

    def write(self, rows: np.ndarray, features: np.ndarray) -> None:
        """Put (B, ...) float16 at these row numbers."""
        if not self._begin:
            header = {"descr": "<f2", "fortran_order": False, "shape": (self._count, *features.shape[1:])}
            np.lib.format.write_array_header_1_0(self._file, header)
            self._begin = self._file.tell()
        for row, feature in zip(rows.tolist(), features, strict=True):
            self._file.seek(self._begin + row * feature.nbytes)
            self._file.write(feature.tobytes())
