"""What covers the things of the foreign catalogue and lies under them: patterns, printed labels, floors, clutter."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lib.surface_points import Colour, Surface, Texture, box, plain, revolved


def patterned(pattern: str, main: Colour, trim: Colour) -> Texture:
    """The main colour, with a pattern in the other one."""

    def texture(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        where = {
            "plain": np.zeros(len(u), dtype=bool),
            "rings": (v * 9) % 1 < 0.28,
            "panels": (u * 16) % 1 < 0.4,
            "spots": ((u * 14) % 1 - 0.5) ** 2 + ((v * 6) % 1 - 0.5) ** 2 < 0.07,
            "half and half": v < 0.42,
        }[pattern]
        return np.where(where[:, None], trim, main)

    return texture


def labelled(under: Texture, emblem: str, *, trim: Colour, word: str) -> Texture:
    """A printed label about the middle of the front."""
    if emblem == "none":
        return under
    label = _label(emblem, trim=trim, word=word)
    rows, columns = label.shape[:2]

    def texture(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        colours = under(u, v)
        x, y = (u - 0.38) / 0.24, (0.78 - v) / 0.46
        on = (x >= 0) & (x < 1) & (y >= 0) & (y < 1)
        colours[on] = label[(y[on] * rows).astype(int), (x[on] * columns).astype(int)]
        return colours

    return texture


def _label(emblem: str, *, trim: Colour, word: str, side: int = 160) -> np.ndarray:
    """(side, side, 3) linear colours."""
    paper = Image.new("RGB", (side, side), (214, 208, 190))
    draw = ImageDraw.Draw(paper)
    ink = tuple(int(255 * channel) for channel in trim)
    if sum(trim) > 1.5:
        ink = (40, 40, 44)
    draw.rectangle((3, 3, side - 4, side - 4), outline=ink, width=5)
    draw.polygon(_outline(emblem, side), fill=ink)
    if emblem in ("ring", "moon"):
        shift = 0 if emblem == "ring" else side // 8
        r, x, y = side // 6, side // 2 + shift, int(side * 0.4)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(214, 208, 190))
    draw.text((side / 2, side * 0.83), word, fill=ink, font=ImageFont.load_default(size=24), anchor="mm")
    return np.asarray(paper, dtype=float) / 255


def _outline(emblem: str, side: int) -> list[tuple[float, float]]:
    """Corners of an emblem in the upper part of the label."""
    turn = np.linspace(0, 2 * math.pi, 121)[:-1]
    if emblem == "star":
        turn = turn[::12]
        radius = np.where(np.arange(len(turn)) % 2 == 0, 0.28, 0.12)
    elif emblem == "leaf":
        radius = 0.3 * np.abs(np.cos(turn)) ** 0.6 * np.where(np.cos(turn) > 0, 1, 0.35)
    elif emblem == "wave":
        radius = 0.2 + 0.08 * np.sin(6 * turn)
    elif emblem == "cross":
        radius = np.where(np.abs(np.sin(2 * turn)) < 0.55, 0.29, 0.11)
    elif emblem == "arrow":
        turn, radius = turn[::40], np.full(3, 0.3)
    else:
        radius = np.full(len(turn), 0.27)
    turn = turn - math.pi / 2
    return [(side * (0.5 + r * math.cos(a)), side * (0.4 + r * math.sin(a))) for a, r in zip(turn, radius, strict=True)]


# ---------------------------------------------------------------- around the thing
def clutter(rng: np.random.Generator) -> list[Surface]:
    """Up to four plain things that stand about."""
    parts = []
    for _ in range(rng.integers(0, 5)):
        shade = plain(tuple(rng.uniform(0.03, 0.8, 3)))
        side = rng.choice((-1, 1))
        to = (side * rng.uniform(0.75, 1.5), 0, rng.uniform(-1.5, 0.1))
        r, h = rng.uniform(0.08, 0.25), rng.uniform(0.1, 0.9)
        thing = (
            box((2 * r, h, rng.uniform(0.06, 0.4)), shade)
            if rng.random() < 0.5
            else revolved(
                [(0.01, 0), (r, 0), (r * rng.uniform(0.5, 1.2), h), (0.01, h)], shade, gloss=rng.uniform(0, 0.8)
            )
        )
        parts.append(thing.moved(turn=rng.uniform(0, 3), to=to))
    return parts


def floor(rng: np.random.Generator) -> Texture:
    """Boards, tiles, cloth, stone, or one colour; coordinates in units."""
    first = rng.uniform(0.08, 0.75) * np.clip(rng.normal(1, 0.12, 3) * (1.1, 1, 0.85), 0, 1.3)
    second = first * rng.uniform(0.55, 0.9)
    kind, turn, grain = rng.integers(5), rng.uniform(0, 3), rng.uniform(1.5, 5)
    waves = rng.uniform(2, 14, (6, 2)) * rng.choice((-1, 1), (6, 2))

    def texture(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        a, b = x * math.cos(turn) + z * math.sin(turn), z * math.cos(turn) - x * math.sin(turn)
        noise = np.sin(a[:, None] * waves[:, 0] + b[:, None] * waves[:, 1] + waves[:, 0]).mean(axis=1)
        mixed = {
            0: (np.floor(a * grain) * 0.37) % 1 + 0.25 * np.sin(30 * b + 9 * noise),
            1: ((np.floor(a * grain) + np.floor(b * grain)) % 2).astype(float),
            2: 0.5 + 0.5 * np.sin(a * 60) * np.sin(b * 60),
            3: 0.5 + 1.4 * noise,
            4: np.zeros_like(a),
        }[int(kind)]
        return first + (second - first) * np.clip(mixed, 0, 1)[:, None]

    return texture
