"""JPEGs with some structure, and a data version of them; deterministic."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from entityclip.data import pairs
from entityclip.paths import DataLayout

SIDE = 348
"""Pixels: the size that shops have."""


def jpegs(count: int) -> Iterator[bytes]:
    """So many files."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        stream = io.BytesIO()
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        yield stream.getvalue()


def photographs(count: int, *, width: int, height: int) -> Iterator[bytes]:
    """So many files with as much detail as photographs have: coloured noise of many scales, 2 bits a pixel."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        layers = [
            rng.integers(0, 256, (max(1, height // 8 // k), max(1, width // 8 // k), 3), dtype=np.uint8)
            for k in (1, 4, 20)
        ]
        large = [
            np.asarray(Image.fromarray(layer).resize((width, height), Image.Resampling.BICUBIC)) for layer in layers
        ]
        stream = io.BytesIO()
        Image.fromarray(np.mean(large, axis=0).astype(np.uint8)).save(stream, "JPEG", quality=92)
        yield stream.getvalue()


def write_version(data: DataLayout, files: list[bytes]) -> None:
    """The pictures as a data version without texts."""
    pairs.start(data)
    rows = ({"image": {"bytes": f, "path": ""}, "image_sha256": pairs.digest(f), "split": "train"} for f in files)
    pairs.finish(data, pairs=pairs.write_rows(data.pairs, pairs.PAIRS, rows, name="train"))
