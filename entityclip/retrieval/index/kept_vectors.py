"""Vectors of pictures, kept in a folder: a run needs those of the same model and pictures several times."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from entityclip.data import pairs
from entityclip.model.checkpoint import LoadedModel
from entityclip.storage import atomic_path


def kept_vectors(model: LoadedModel, ids: Sequence[str], embed: Callable[[], np.ndarray]) -> np.ndarray:
    """(N, D) vectors of the pictures of these pairs, from ``model.vectors`` or ``embed``, whose result is kept there.

    Args:
        model: What sees the pictures.
        ids: The pairs. An id hashes the picture, so that it names its content.
        embed: Computes the vectors, in the order of ``ids``.
    """
    if model.vectors is None:
        return embed()
    path = model.vectors / f"{pairs.digest(model.card.fingerprint, *ids, length=32)}.npz"
    with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):  # there are none yet, or they are damaged
        with np.load(path, allow_pickle=False) as kept:
            found: np.ndarray = kept["vectors"]
        os.utime(path)
        if found.shape == (len(ids), model.dim):
            return found
    found = embed()
    with suppress(OSError), atomic_path(path, durable=False) as temporary, temporary.open("wb") as stream:
        np.savez(stream, vectors=found)  # without them, only the next step takes longer
    return found


def drop_unused(folder: Path, *, since: float) -> None:
    """Delete the vectors that were neither read nor written after ``since``, seconds since the epoch."""
    for path in folder.glob("*.npz"):
        if path.stat().st_mtime < since:
            path.unlink(missing_ok=True)
