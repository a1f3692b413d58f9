"""Grey cards with printed lines: pictures that only a reader can tell apart."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pytest
from PIL import Image, ImageDraw, ImageFont

from entityclip.data.labels import can_read

LATIN = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
JAPANESE = Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc")

needs_reader = pytest.mark.skipif(
    not can_read(), reason="the extra labels is not installed: pip install -e '.[labels]'"
)

Line = tuple[str, tuple[int, int]]
"""A text, and its left upper corner in pixels."""


def card(*lines: Line, size: tuple[int, int] = (400, 260), pixels: int = 56) -> Image.Image:
    """A grey card with black lines of this height."""
    image = Image.new("RGB", size, (150, 150, 150))
    draw = ImageDraw.Draw(image)
    for text, place in lines:
        font = ImageFont.truetype(str(LATIN if text.isascii() else JAPANESE), pixels)
        draw.text(place, text, font=font, fill="black")
    return image


def card_of(text: str, *, pixels: int = 56) -> Image.Image:
    """A grey card with one line in its middle."""
    return card((text, (40, 90)), pixels=pixels)


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def texts(labels: Sequence[object]) -> list[str]:
    return [str(getattr(label, "text", "")) for label in labels]
