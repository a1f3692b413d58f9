"""JPEGs of the size that shops have, with some structure; deterministic."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

SIDE = 348
"""Pixels."""


def jpegs(count: int) -> Iterator[bytes]:
    """So many files."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        stream = io.BytesIO()
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        yield stream.getvalue()
