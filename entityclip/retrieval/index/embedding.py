"""Texts and pictures through the model's towers, a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from entityclip.data.images import decode
from entityclip.errors import CheckpointError, DataError, ImageError
from entityclip.model.checkpoint import LoadedModel

CHUNK = 64
"""Texts or pictures embedded between two steps of the progress bar; so many picture files are held at once."""


def embedded_texts(model: LoadedModel, texts: list[str], *, what: str, progress: bool) -> np.ndarray:
    """(N,) texts -> (N, D) unit rows; ``what`` stands before the progress bar."""
    starts = range(0, len(texts), CHUNK)
    parts = [model.embed_texts(texts[i : i + CHUNK]) for i in tqdm(starts, desc=what, disable=not progress)]
    return np.concatenate([np.zeros((0, model.dim), dtype=np.float32), *parts])


def decoded(rows: list[dict[str, Any]], images: list[dict[str, Any]]) -> Iterator[Image.Image]:
    """The pictures of ``rows``, one at a time; one that cannot be decoded is a DataError that names it."""
    for row, image in zip(rows, images, strict=True):
        try:
            yield decode(image["bytes"])
        except ImageError as error:
            raise DataError(f"pair {row['pair_id']} ({image['path']}): {error.reason}; ingest again") from error


def finite(vectors: np.ndarray, model: LoadedModel) -> np.ndarray:
    """``vectors`` themselves; a CheckpointError where a diverged model gave something that is no number."""
    if not np.isfinite(vectors).all():
        raise CheckpointError(
            f"model {model.card.fingerprint}: gives vectors that are not finite, so its training diverged; train again"
        )
    return vectors
