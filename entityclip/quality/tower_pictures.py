"""Pictures of entities as a pretrained tower sees them, kept in a file: each picture is embedded once."""

from __future__ import annotations

import os
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from entityclip.model.backbones import BackboneConfig, Task, best_at_hand
from entityclip.paths import DataLayout
from entityclip.quality.colour_histogram import COLOURS
from entityclip.quality.frozen_image_tower import FrozenImageTower
from entityclip.quality.model_scores import EntityPictures, chosen_pictures, embedded_pairs
from entityclip.storage import atomic_path

PICTURES_EACH = 4
"""Pictures of an entity that are embedded: this is nearly all of the cost."""


@dataclass(frozen=True)
class PretrainedTower:
    """A pretrained tower, with a folder that keeps what it saw in half precision; None: nothing is kept."""

    tower: FrozenImageTower
    kept: Path | None = None

    @property
    def name(self) -> str:
        """Of the backbone."""
        return self.tower.name

    @property
    def fingerprint(self) -> str:
        """Of the tower; what it sees depends on it alone."""
        return self.tower.fingerprint

    def pictures(self, data: DataLayout, wanted: set[str]) -> EntityPictures:
        """The first ``PICTURES_EACH`` pictures (by id) of each ``wanted`` entity, without those of the test split.

        Raises:
            DataError: A picture cannot be decoded.
        """
        listed = chosen_pictures(data, wanted, each=PICTURES_EACH)
        path = self.kept and self.kept / f"tower-{self.fingerprint}.npz"
        ids, vectors, colours = _read(path, self.tower)
        missing = set(listed["pair_id"]) - set(ids)
        if missing:
            new, seen = embedded_pairs(self.tower, data, missing)
            assert seen.colours is not None
            ids, vectors = [*ids, *new], np.concatenate([vectors, seen.vectors.astype(np.float16)])
            colours = np.concatenate([colours, seen.colours.astype(np.float16)])
            _write(path, ids, vectors, colours)
        place = {pair: row for row, pair in enumerate(ids)}
        rows = np.array([place[pair] for pair in listed["pair_id"]], dtype=np.int64)
        return EntityPictures(
            listed["entity_id"].tolist(), *(part[rows].astype(np.float32) for part in (vectors, colours))
        )


def tower_at_hand(
    backbones: BackboneConfig, kept: Path | None = None, *, device: Literal["cpu", "cuda"] = "cpu"
) -> PretrainedTower | None:
    """The image tower of the best backbone at hand; None where the settings or this machine have none.

    Args:
        backbones: The settings.
        kept: Folder that keeps what it saw.
        device: Where it computes.
    """
    backbone = best_at_hand(backbones, Task(device=device))
    return None if backbone.name == "none" else PretrainedTower(FrozenImageTower(backbone, device=device), kept)


def _read(path: Path | None, tower: FrozenImageTower) -> tuple[list[str], np.ndarray, np.ndarray]:
    if path is not None:
        with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):  # there are none yet, or they are damaged
            with np.load(path, allow_pickle=False) as kept:
                ids, vectors, colours = kept["ids"].tolist(), kept["vectors"], kept["colours"]
            if vectors.shape == (len(ids), tower.dim) and colours.shape == (len(ids), _colours().shape[1]):
                os.utime(path)
                return ids, vectors, colours
    return [], np.zeros((0, tower.dim), dtype=np.float16), _colours()


def _colours() -> np.ndarray:
    return np.zeros((0, COLOURS), dtype=np.float16)


def _write(path: Path | None, ids: list[str], vectors: np.ndarray, colours: np.ndarray) -> None:
    if path is None:
        return
    with suppress(OSError):  # without them, only the next run takes longer
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path, durable=False) as temporary, temporary.open("wb") as stream:
            np.savez(stream, ids=np.array(ids), vectors=vectors, colours=colours)
