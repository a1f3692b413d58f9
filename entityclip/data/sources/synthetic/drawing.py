"""Appearance of a synthetic product: its sprite, and photographs of it.

A sprite is drawn once per product from a silhouette (shapes in hundredths of the side). A photograph adds pose,
background, light, lens and sensor. All random choices come from the generator that is passed in: the same state gives
the same picture.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from entityclip.data.sources.synthetic.silhouettes import SILHOUETTES, Shape
from entityclip.schemas import Record

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (204, 28, 36),
    "orange": (246, 134, 22),
    "yellow": (246, 216, 40),
    "green": (36, 140, 62),
    "blue": (30, 86, 196),
    "purple": (124, 52, 160),
    "pink": (246, 146, 190),
    "brown": (112, 66, 34),
    "white": (244, 244, 240),
    "black": (32, 32, 36),
}
"""Far enough apart that no light of ``photograph`` turns one into another."""

SPRITE_SIDE = 240
_UNIT = SPRITE_SIDE / 100
_DARK: RGB = (58, 60, 66)
_LIGHT: RGB = (238, 232, 214)
_OUTLINE: RGB = (76, 74, 72)
_JPEG_QUALITY = 80
_SCENERIES = ("wall", "gradient", "table", "planks", "tiles", "clouds")


class Look(Record):
    """Visible attributes of a product; no two products share all of them."""

    kind: str
    body: str
    pattern: str
    accent: str
    label: str


# ---------------------------------------------------------------- sprite
_X, _Y = np.meshgrid(np.linspace(0, 100, SPRITE_SIDE), np.linspace(0, 100, SPRITE_SIDE))

PATTERNS: dict[str, np.ndarray] = {
    "plain": np.zeros_like(_X, dtype=bool),
    "vertical stripes": _X % 13 < 5,
    "horizontal stripes": _Y % 13 < 5,
    "dots": np.hypot(_X % 13 - 6.5, _Y % 13 - 6.5) < 3.7,
    "checks": (_X % 20 < 10) != (_Y % 20 < 10),
    "zigzags": (_Y + np.abs(_X % 16 - 8)) % 15 < 5,
}
"""Where the accent colour covers the body: (SPRITE_SIDE, SPRITE_SIDE) bool."""

LABELS: dict[str, Shape] = {
    "round": Shape("light", "ellipse", (-9.5, -9.5, 9.5, 9.5)),
    "diamond": Shape("light", "polygon", (0, -12, 12, 0, 0, 12, -12, 0)),
    "nameplate": Shape("light", "rounded", (-18, -6.5, 18, 6.5), 2),
}
"""Labels around their centre; the nameplate bears the model number."""


def sprite(look: Look, *, print_on_label: str) -> Image.Image:
    """Front view of the product: (SPRITE_SIDE, SPRITE_SIDE) RGBa, with premultiplied alpha.

    ``print_on_label`` is written on a nameplate; other labels have no text.
    """
    silhouette = SILHOUETTES[look.kind]
    cloths = _cloths(look)
    canvas = Image.new("RGBA", (SPRITE_SIDE, SPRITE_SIDE))
    for shape in silhouette.shapes:
        _add(canvas, shape, cloth=cloths[shape.tone])
    _shade(canvas)
    _stick_label(canvas, look.label, at=silhouette.label_at, text=print_on_label)
    return canvas.convert("RGBa")


def _cloths(look: Look) -> dict[str, Image.Image]:
    """The fill of each tone."""
    body, accent = np.array(COLOURS[look.body], np.uint8), np.array(COLOURS[look.accent], np.uint8)
    patterned = np.where(PATTERNS[look.pattern][..., None], accent, body)
    plain = {"accent": COLOURS[look.accent], "dark": _DARK, "light": _LIGHT}
    cloths = {tone: Image.new("RGB", (SPRITE_SIDE, SPRITE_SIDE), colour) for tone, colour in plain.items()}
    return {"body": Image.fromarray(patterned), **cloths}


def _add(canvas: Image.Image, shape: Shape, *, cloth: Image.Image) -> None:
    """Draw ``shape`` filled with ``cloth``, with an outline that is visible on any background."""
    outline, mask = Image.new("L", canvas.size), Image.new("L", canvas.size)
    _trace(outline, shape, grow=1.0)
    _trace(mask, shape, grow=0.0)
    canvas.paste(_OUTLINE, mask=outline)
    canvas.paste(cloth, mask=mask)


def _trace(mask: Image.Image, shape: Shape, *, grow: float) -> None:
    """Fill ``shape`` with 255, larger by ``grow`` hundredths all around."""
    draw, width = ImageDraw.Draw(mask), round((shape.width + 2 * grow) * _UNIT)
    points = [p * _UNIT for p in shape.points]
    g = grow * _UNIT
    box = (points[0] - g, points[1] - g, points[2] + g, points[3] + g)
    if shape.form == "ellipse":
        draw.ellipse(box, fill=255)
    elif shape.form == "rounded":
        draw.rounded_rectangle(box, radius=shape.width * _UNIT + g, fill=255)
    elif shape.form == "line":
        draw.line(points, fill=255, width=width)
    elif shape.form == "arc":
        start, end = shape.points[4:]
        draw.arc(box, start, end, fill=255, width=width)
    else:
        draw.polygon(points, fill=255)
        if grow:
            draw.line([*points, *points[:4]], fill=255, width=round(2 * g), joint="curve")


def _shade(canvas: Image.Image) -> None:
    """Shading of a round body: lighter left of the middle, darker towards the right."""
    pixels = np.asarray(canvas).astype(np.float32)
    x = np.linspace(0, 1, SPRITE_SIDE, dtype=np.float32)
    pixels[..., :3] *= (1.06 - 0.5 * (x - 0.35) ** 2)[None, :, None]
    canvas.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8), "RGBA"))


def _stick_label(canvas: Image.Image, label: str, *, at: tuple[float, float], text: str) -> None:
    shape = LABELS[label]
    moved = tuple(p + at[i % 2] for i, p in enumerate(shape.points))
    _add(canvas, shape._replace(points=moved), cloth=Image.new("RGB", canvas.size, _LIGHT))
    if label == "nameplate":
        font = ImageFont.load_default(size=8.2 * _UNIT)
        centre = (at[0] * _UNIT, at[1] * _UNIT)
        ImageDraw.Draw(canvas).text(centre, text, fill=(20, 20, 20), font=font, anchor="mm")


# ---------------------------------------------------------------- photograph
def photograph(subject: Image.Image, rng: np.random.Generator, *, size: int) -> bytes:
    """A JPEG of ``size`` x ``size`` pixels of a sprite, with random pose, light and blur."""
    posed = subject.transform(
        (2 * size, 2 * size), Image.Transform.PERSPECTIVE, _pose(rng, size=2 * size), Image.Resampling.BILINEAR
    ).reduce(2)
    layer = np.asarray(posed).astype(np.float32)
    alpha = layer[..., 3:] / 255
    behind = _backdrop(rng, size=size) * (1 - _shadow(posed.getchannel("a"), rng))
    scene = _lit(layer[..., :3] + behind * (1 - alpha), rng)
    lens = ImageFilter.GaussianBlur(rng.uniform(0.0, 1.0))
    seen = np.asarray(Image.fromarray(scene.clip(0, 255).astype(np.uint8)).filter(lens)).astype(np.float32)
    seen += rng.standard_normal(seen.shape, dtype=np.float32) * rng.uniform(1.0, 6.0)
    jpeg = io.BytesIO()
    Image.fromarray(seen.clip(0, 255).astype(np.uint8)).save(jpeg, "JPEG", quality=_JPEG_QUALITY)
    return jpeg.getvalue()


def _pose(rng: np.random.Generator, *, size: int) -> tuple[float, ...]:
    """Perspective coefficients from picture to sprite: shift, scale, turn of up to 25 degrees, shear, tilt."""
    turn, scale = math.radians(rng.uniform(-25, 25)), rng.uniform(0.6, 1.0)
    shift = rng.uniform(-1, 1, 2) * (1.06 - scale) * 0.4 * size
    zoom = SPRITE_SIDE / size / scale
    rotate = np.array([[math.cos(turn), math.sin(turn), 0], [-math.sin(turn), math.cos(turn), 0], [0, 0, 1]])
    shear = np.array([[1, rng.uniform(-0.15, 0.15), 0], [rng.uniform(-0.08, 0.08), 1, 0], [0, 0, 1]])
    tilt = np.array([[zoom, 0, 0], [0, zoom, 0], [*(rng.uniform(-0.3, 0.3, 2) / size), 1]])
    to_sprite = np.array([[1, 0, SPRITE_SIDE / 2], [0, 1, SPRITE_SIDE / 2], [0, 0, 1]])
    from_centre = np.array([[1, 0, -size / 2 - shift[0]], [0, 1, -size / 2 - shift[1]], [0, 0, 1]])
    matrix = to_sprite @ rotate @ shear @ tilt @ from_centre
    return tuple((matrix / matrix[2, 2]).ravel()[:8])


def _shadow(alpha: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """Soft shadow of the product on the background: (size, size, 1), 0 to 0.6."""
    shift = (1, 0, int(rng.integers(-5, 6)), 0, 1, -int(rng.integers(1, 6)))
    soft = alpha.transform(alpha.size, Image.Transform.AFFINE, shift).filter(ImageFilter.BoxBlur(rng.uniform(2, 5)))
    return np.asarray(soft).astype(np.float32)[..., None] / 255 * np.float32(rng.uniform(0.1, 0.6))


def _muted(rng: np.random.Generator) -> np.ndarray:
    """A background colour: any brightness, low saturation."""
    return (rng.uniform(70, 225) + rng.uniform(-26, 26, 3)).astype(np.float32)


def _backdrop(rng: np.random.Generator, *, size: int) -> np.ndarray:
    """Background of two muted colours: (size, size, 3) float32."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    one, two = _muted(rng), _muted(rng)
    slope, phase = rng.uniform(-0.5, 0.5), rng.uniform(0, 1)
    scenery = _SCENERIES[rng.integers(len(_SCENERIES))]
    if scenery == "wall":
        share = np.zeros_like(x)
    elif scenery == "gradient":
        share = np.clip(x * slope + y + phase - 0.5, 0, 1)
    elif scenery == "table":
        share = (y + 0.3 * slope * x > 0.5 + 0.35 * phase).astype(np.float32)
    elif scenery == "planks":
        share = 0.35 * ((x + slope * y + phase) % 0.22 < 0.015)
    elif scenery == "tiles":
        share = 0.3 * ((x + phase) % 0.25 < 0.02) + 0.3 * ((y + phase) % 0.25 < 0.02)
    else:
        coarse = Image.fromarray(rng.uniform(0, 255, (7, 7)).astype(np.uint8))
        share = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)).astype(np.float32) / 255
    return one + share.astype(np.float32)[..., None] * (two - one)


def _lit(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply brightness, contrast, colour temperature, light from one side, and darker corners."""
    size = len(scene)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    warm = rng.uniform(-0.07, 0.07)
    gains = rng.uniform(0.78, 1.15) * np.array([1 + warm, 1, 1 - warm], np.float32)
    side = 1 + rng.uniform(-0.15, 0.15) * x + rng.uniform(-0.15, 0.15) * y
    corners = 1 - rng.uniform(0, 0.18) * (x * x + y * y)
    contrasted = (scene - 128) * np.float32(rng.uniform(0.85, 1.12)) + 128
    return (contrasted * gains * (side * corners)[..., None]).astype(np.float32)
