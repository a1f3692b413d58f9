"""Pictures unlike each other, for tests about near duplicates."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw


def scene(number: int) -> Image.Image:
    """Coloured discs on a coloured ground, 120 x 90 pixels; the same for the same number."""
    rng = np.random.default_rng(number)
    image = Image.new("RGB", (120, 90), tuple(rng.integers(0, 256, 3).tolist()))
    for _ in range(8):
        x, y, size = (int(value) for value in rng.integers(0, 90, 3))
        colour = tuple(rng.integers(0, 256, 3).tolist())
        ImageDraw.Draw(image).ellipse((x, y, x + 10 + size, y + 10 + size), fill=colour)
    return image
