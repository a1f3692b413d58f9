"""The colours of a picture as a histogram: image towers see shapes and textures better than colours."""

from __future__ import annotations

import numpy as np
from PIL import Image

BINS = (12, 3, 3)
"""Of hue, saturation and value."""
COLOURS = 108
"""Their product."""
_SIDE = 64


def colour_histogram(picture: Image.Image) -> np.ndarray:
    """(108,) float32: root of the share of the pixels in each bin, so that its length is 1 (a Hellinger map)."""
    pixels = np.asarray(picture.convert("RGB").resize((_SIDE, _SIDE)).convert("HSV"), dtype=np.int64).reshape(-1, 3)
    places = np.ravel_multi_index(tuple((pixels * BINS // 256).T), BINS)
    shares = np.bincount(places, minlength=COLOURS) / len(pixels)
    return np.sqrt(shares).astype(np.float32)
