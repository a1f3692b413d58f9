"""Grey cards with printed lines: pictures that only a reader can tell apart."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pytest
from PIL import Image, ImageDraw, ImageFont

from entityclip.data import pairs
from entityclip.data.labels import can_read
from entityclip.paths import DataLayout

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


LINES = {
    "KX-RED": (("TROPICANA", (20, 20)), ("APELSIN", (20, 110)), ("090-1234-5678", (20, 190))),
    "KX-GREEN": (("TROPICANA", (20, 20)), ("PERUNA", (20, 110))),
}


def printed_data(root: Path) -> DataLayout:
    """Two entities with two training pictures each, on which words are printed."""
    data = DataLayout(root)
    pairs.start(data)
    entities, rows = [], []
    for name, lines in LINES.items():
        about = {"entity_id": pairs.entity_id(name), "entity": name, "language": "en", "category": "juice"}
        entities.append(about | {"aliases": [], "licence": "", "source": "t"})
        for number in range(2):
            data_of = png(card(*lines, size=(420 + number, 260), pixels=40))
            sha = hashlib.sha256(data_of).hexdigest()
            picture = {"image": {"bytes": data_of, "path": f"{name}/{number}.png"}, "image_sha256": sha}
            size = {"width": 420 + number, "height": 260, "caption": name, "split": "train"}
            rows.append(about | picture | size | {"pair_id": pairs.pair_id(sha, name, name)})
    pairs.write_rows(data.pairs, pairs.PAIRS, rows, name="train")
    pairs.write_rows(data.entities, pairs.ENTITIES, entities, name="entities")
    pairs.write_rows(data.explanations, pairs.EXPLANATIONS, [], name="explanations")
    pairs.finish(data, pairs=len(rows))
    return data
