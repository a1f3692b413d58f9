"""What a sample keeps of a picture and of a text: neither can be made again from it."""

from __future__ import annotations

import unicodedata
from collections import Counter

import numpy as np

STATISTICS = ("brightness", "contrast", "colour", "sharpness")
"""Of a picture as the tower sees it, see ``picture_statistics``."""


def picture_statistics(square: np.ndarray) -> dict[str, float]:
    """``STATISTICS`` of (3, S, S) uint8.

    Brightness and contrast are mean and spread of the grey values, colour the mean spread of a pixel's channels,
    sharpness the mean step between neighbours; all in parts of the full range.
    """
    pixels = square.astype(np.float32) / 255
    grey = pixels.mean(axis=0)
    steps = np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()
    values = (grey.mean(), grey.std(), (pixels.max(axis=0) - pixels.min(axis=0)).mean(), steps / 2)
    return dict(zip(STATISTICS, map(float, values), strict=True))


def script_of(text: str) -> str:
    """The script of most of the letters, as ``latin``, ``cyrillic`` or ``japanese or chinese``; ``none`` without any.

    A query is often too short to detect its language, but its script is always clear.
    """
    names = Counter(unicodedata.name(letter, "?").split()[0].lower() for letter in text if letter.isalpha())
    for name in ("cjk", "hiragana", "katakana", "halfwidth"):
        names["japanese or chinese"] += names.pop(name, 0)
    names["latin"] += names.pop("fullwidth", 0)  # Ａ is written among Japanese, and still Latin
    script, count = min(names.items(), key=lambda item: (-item[1], item[0]))
    return script if count else "none"


# ---------------------------------------------------------------- the comparison
