"""The things of the foreign catalogue: twelve families built from turned profiles, boxes and tubes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lib.foreign_textures import labelled, patterned
from lib.surface_points import Colour, Surface, Texture, arc, box, joined, plain, revolved, tube

COLOURS: dict[str, Colour] = {
    "moss": (0.16, 0.26, 0.07),
    "brick": (0.45, 0.09, 0.05),
    "sand": (0.66, 0.53, 0.32),
    "navy": (0.02, 0.05, 0.22),
    "teal": (0.02, 0.34, 0.36),
    "plum": (0.27, 0.04, 0.24),
    "charcoal": (0.05, 0.05, 0.06),
    "ivory": (0.84, 0.80, 0.68),
    "mustard": (0.68, 0.42, 0.03),
    "rose": (0.76, 0.32, 0.38),
    "sky": (0.32, 0.60, 0.80),
    "chestnut": (0.25, 0.10, 0.04),
}
"""Linear RGB."""

SIZES = {"short": 0.78, "standard": 1.0, "tall": 1.28}
PATTERNS = ("plain", "rings", "panels", "spots", "half and half")
EMBLEMS = ("star", "leaf", "wave", "ring", "arrow", "moon", "cross", "none")
VARIANTS: dict[str, tuple[str, ...]] = {
    "storage jar": ("knob lid", "flat lid", "cork stopper"),
    "storm lantern": ("carrying arc", "hanging ring", "side grip"),
    "watering can": ("top handle", "rear handle", "double handle"),
    "stool": ("round seat with four legs", "round seat with three legs", "square seat with four legs"),
    "birdhouse": ("gabled roof", "flat roof", "sloping roof"),
    "hand weight": ("round ends", "six-sided ends", "domed ends"),
    "planter": ("spiky plant", "leafy plant", "no plant"),
    "tea carton": ("rope handle", "gabled top", "plain top"),
    "garden sprayer": ("trigger head", "pump head", "mist cap"),
    "pepper mill": ("ball top", "crown top", "crank handle"),
    "toy truck": ("open bed", "box body", "tank body"),
    "hand bell": ("straight handle", "loop handle", "ball handle"),
}
"""Family -> the parts that its members may have."""

STEEL: Colour = (0.5, 0.5, 0.52)
WOOD: Colour = (0.42, 0.25, 0.11)
_DARK: Colour = (0.03, 0.03, 0.03)


class Design(NamedTuple):
    """What can be seen of a product."""

    family: str
    variant: str
    size: str
    main: str
    trim: str
    pattern: str
    emblem: str


def build(design: Design, *, word: str) -> Surface:
    """The thing, about one unit high, its label to the front. ``word`` is printed on the label."""
    main, trim = COLOURS[design.main], COLOURS[design.trim]
    cover = labelled(patterned(design.pattern, main, trim), design.emblem, trim=trim, word=word)
    built = _BUILDERS[design.family](design, cover, trim)
    return joined(built).stretched(SIZES[design.size])


# ---------------------------------------------------------------- families
def _jar(design: Design, cover: Texture, trim: Colour) -> list[Surface]:
    body = revolved([(0.02, 0.0), (0.28, 0.0), (0.32, 0.05), (0.33, 0.5), (0.3, 0.62), (0.24, 0.66)], cover, gloss=0.5)
    if design.variant == "cork stopper":
        return [body, revolved([(0.22, 0.6), (0.25, 0.78), (0.01, 0.78)], plain(WOOD), gloss=0)]
    lid = revolved([(0.28, 0.66), (0.28, 0.73), (0.01, 0.75)], plain(trim))
    if design.variant == "flat lid":
        return [body, lid]
    return [body, lid, revolved([(0.03, 0.74), (0.03, 0.78), (0.08, 0.83), (0.01, 0.9)], plain(trim))]


def _lantern(design: Design, cover: Texture, trim: Colour) -> list[Surface]:
    parts = [
        revolved([(0.01, 0.0), (0.3, 0.0), (0.32, 0.1), (0.2, 0.16)], plain(trim)),
        revolved([(0.18, 0.16), (0.25, 0.28), (0.25, 0.42), (0.17, 0.56)], cover, gloss=0.9),
        revolved([(0.24, 0.55), (0.24, 0.58), (0.1, 0.7), (0.08, 0.75), (0.01, 0.76)], plain(trim)),
        *(tube([(x, 0.1, 0), (x * 1.1, 0.35, 0), (x, 0.58, 0)], 0.014, STEEL, gloss=0.8) for x in (-0.28, 0.28)),
    ]
    if design.variant == "carrying arc":
        return [*parts, tube(arc((0, 0.56, 0), 0.34, begin=0, end=180), 0.016, STEEL, gloss=0.8)]
    if design.variant == "hanging ring":
        return [*parts, tube(arc((0, 0.84, 0), 0.09, begin=0, end=360), 0.018, STEEL, gloss=0.8)]
    return [*parts, tube(arc((0.28, 0.35, 0), 0.18, begin=-90, end=90), 0.03, trim)]


def _watering_can(design: Design, cover: Texture, trim: Colour) -> list[Surface]:
    parts = [
        revolved([(0.01, 0.0), (0.3, 0.0), (0.27, 0.45), (0.2, 0.5)], cover),
        tube([(0.26, 0.1, 0), (0.45, 0.3, 0), (0.62, 0.6, 0)], 0.035, trim),
        tube([(0.6, 0.56, 0), (0.66, 0.66, 0)], 0.08, trim),
    ]
    handles = {
        "top handle": [arc((0, 0.46, 0), 0.22, begin=0, end=180)],
        "rear handle": [arc((-0.26, 0.26, 0), 0.2, begin=90, end=270)],
        "double handle": [
            arc((0, 0.46, 0), 0.2, begin=20, end=180), arc((-0.25, 0.26, 0), 0.17, begin=90, end=270),
        ],
    }[design.variant]  # fmt: skip
    return parts + [tube(handle, 0.025, trim) for handle in handles]


def _stool(design: Design, cover: Texture, trim: Colour) -> list[Surface]:
    if design.variant.startswith("square"):
        seat = box((0.62, 0.12, 0.62), cover).moved(to=(0, 0.55, 0))
    else:
        seat = revolved([(0.3, 0.55), (0.34, 0.58), (0.34, 0.66), (0.3, 0.69), (0.01, 0.7)], cover)
    count = 3 if "three" in design.variant else 4
    turns = [math.pi / 4 + 2 * math.pi * n / count for n in range(count)]
    feet = [(math.sin(a), math.cos(a)) for a in turns]
    legs = [tube([(0.22 * x, 0.56, 0.22 * z), (0.36 * x, 0.0, 0.36 * z)], 0.035, trim) for x, z in feet]
    rungs = [
        tube([(0.3 * a[0], 0.2, 0.3 * a[1]), (0.3 * b[0], 0.2, 0.3 * b[1])], 0.018, trim)
        for a, b in zip(feet, feet[1:] + feet[:1], strict=True)
    ]
    return [seat, *legs, *rungs]


def _birdhouse(design: Design, cover: Texture, trim: Colour) -> list[Surface]:
    def front(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        colours = cover(u, np.clip(v * 1.5, 0, 1))
        colours[((u - 0.5) * 0.46) ** 2 + ((v - 0.76) * 0.6) ** 2 < 0.085**2] = _DARK
        return colours

    parts = [
        box((0.46, 0.6, 0.4), front),
        tube([(0, 0.36, 0.2), (0, 0.36, 0.34)], 0.018, WOOD),
    ]
    if design.variant == "flat roof":
        return [*parts, box((0.6, 0.06, 0.56), plain(trim)).moved(to=(0, 0.6, 0))]
    if design.variant == "sloping roof":
        return [*parts, _slab((-0.34, 0.58), (0.34, 0.74), trim)]
    return [*parts, _slab((-0.36, 0.52), (0.0, 0.84), trim), _slab((0.36, 0.52), (0.0, 0.84), trim)]


def _slab(low: tuple[float, float], high: tuple[float, float], colour: Colour) -> Surface:
    """A board from left to right, 0.56 deep."""
    ends = [np.array([(*low, z), (*high, z)]) for z in np.linspace(-0.28, 0.28, 17)]
    return joined([tube(end, 0.025, colour) for end in ends])


def _hand_weight(design: Design, cover: Texture, trim: Colour) -> list[Surface]:
    bar = tube([(-0.3, 0.27, 0), (0.3, 0.27, 0)], 0.05, STEEL, gloss=0.8)
    if design.variant == "six-sided ends":
        end = box((0.46, 0.42, 0.3), cover)
        ends = [end.moved(turn=math.pi / 2, to=(x, 0.06, 0)) for x in (-0.42, 0.42)]
        caps = [box((0.34, 0.54, 0.26), plain(trim)).moved(turn=math.pi / 2, to=(x, 0.0, 0)) for x in (-0.42, 0.42)]
        return [bar, *ends, *caps]
    dome = 0.12 if design.variant == "domed ends" else 0.0
    profile = [(0.01, 0.0), (0.24, 0.0), (0.27, 0.04), (0.27, 0.2), (0.24, 0.24), (0.01, 0.24 + dome)]
    disc = revolved(profile, cover, gloss=0.3)
    right = _lying(disc)
    left = right._replace(points=right.points * [-1, 1, 1], normals=right.normals * [-1, 1, 1])
    shift = np.array([0.26, 0.27, 0], dtype=np.float32)
    ring = _lying(revolved([(0.1, 0.0), (0.1, 0.05), (0.06, 0.06)], plain(trim)))
    rings = [ring.moved(to=(x, 0.27, 0)) for x in (-0.3, 0.24)]
    moved = [right._replace(points=right.points + shift), left._replace(points=left.points + shift * [-1, 1, 1])]
    return [bar, *moved, *rings]


def _lying(thing: Surface) -> Surface:
    """What stood upright, on its side: up becomes right."""
    turn = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]], dtype=np.float32)
    return thing._replace(points=thing.points @ turn.T, normals=thing.normals @ turn.T)


def _planter(design: Design, cover: Texture, trim: Colour) -> list[Surface]:
    parts = [
        revolved([(0.01, 0.0), (0.2, 0.0), (0.31, 0.44)], cover, gloss=0.35),
        revolved([(0.31, 0.43), (0.34, 0.43), (0.34, 0.5), (0.29, 0.5), (0.28, 0.46), (0.01, 0.46)], plain(trim)),
    ]
    green: Colour = (0.08, 0.3, 0.07)
    if design.variant == "spiky plant":
        spread = [(0.2 * math.sin(n * 2.4), 0.2 * math.cos(n * 2.4)) for n in range(11)]
        return parts + [tube([(x / 3, 0.46, z / 3), (x, 0.95, z)], 0.022, green) for x, z in spread]
    if design.variant == "leafy plant":
        leaf = revolved([(0.01, 0.0), (0.1, 0.08), (0.12, 0.16), (0.01, 0.24)], plain((0.12, 0.36, 0.1)))
        turns = [(n * 2.4, 0.08 + 0.02 * n) for n in range(8)]
        return parts + [leaf.moved(to=(r * math.sin(a), 0.45 + 0.4 * r, r * math.cos(a))) for a, r in turns]
    return parts


def _carton(design: Design, cover: Texture, trim: Colour) -> list[Surface]:
    parts = [box((0.5, 0.66, 0.34), lambda u, v: cover(0.5 + (u - 0.5) * 0.4, v), rest=plain(trim))]
    if design.variant == "rope handle":
        return [*parts, tube(arc((0, 0.66, 0), 0.15, begin=0, end=180), 0.014, WOOD)]
    if design.variant == "gabled top":
        return [
            *parts,
            *(_slab((x, 0.66), (0.0, 0.86), trim) for x in (-0.25, 0.25)),
            box((0.02, 0.1, 0.5), plain(trim)).moved(to=(0, 0.84, 0)),
        ]
    return [*parts, box((0.52, 0.04, 0.36), plain(trim)).moved(to=(0, 0.66, 0))]


def _sprayer(design: Design, cover: Texture, trim: Colour) -> list[Surface]:
    body = revolved([(0.01, 0.0), (0.24, 0.0), (0.26, 0.05), (0.24, 0.42), (0.1, 0.58), (0.08, 0.64)], cover, gloss=0.4)
    neck = revolved([(0.1, 0.63), (0.1, 0.7), (0.01, 0.7)], plain(trim))
    if design.variant == "trigger head":
        trigger = tube([(0.16, 0.78, 0), (0.2, 0.68, 0), (0.16, 0.58, 0)], 0.02, trim)
        return [body, neck, box((0.42, 0.1, 0.1), plain(trim)).moved(to=(0.1, 0.74, 0)), trigger]
    if design.variant == "pump head":
        stem = tube([(0, 0.7, 0), (0, 0.86, 0)], 0.025, STEEL, gloss=0.8)
        return [body, neck, stem, box((0.3, 0.06, 0.1), plain(trim)).moved(to=(0.08, 0.85, 0))]
    return [body, neck, revolved([(0.13, 0.66), (0.13, 0.9), (0.1, 0.94), (0.01, 0.95)], plain(trim), gloss=0.6)]


def _mill(design: Design, cover: Texture, trim: Colour) -> list[Surface]:
    profile = [(0.01, 0.0), (0.2, 0.0), (0.2, 0.1), (0.12, 0.22), (0.16, 0.4), (0.1, 0.55), (0.17, 0.62), (0.17, 0.66)]
    body = revolved(profile, cover, gloss=0.45)
    if design.variant == "ball top":
        ball = [(0.16 * math.sin(a), 0.82 - 0.16 * math.cos(a)) for a in np.linspace(0.05, math.pi - 0.05, 20)]
        return [body, revolved(ball, plain(trim), gloss=0.45)]
    if design.variant == "crown top":
        return [body, revolved([(0.1, 0.66), (0.2, 0.86), (0.12, 0.82), (0.06, 0.92), (0.01, 0.92)], plain(trim))]
    cap = revolved([(0.17, 0.66), (0.12, 0.74), (0.01, 0.76)], plain(trim))
    crank = tube([(0, 0.75, 0), (0, 0.82, 0), (0.28, 0.86, 0), (0.28, 0.96, 0)], 0.022, STEEL, gloss=0.8)
    return [body, cap, crank]


def _truck(design: Design, cover: Texture, trim: Colour) -> list[Surface]:
    wheel = revolved([(0.01, 0), (0.13, 0), (0.13, 0.08), (0.06, 0.09), (0.01, 0.09)], plain(_DARK))
    up = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]], dtype=np.float32)
    wheel = wheel._replace(points=wheel.points @ up.T, normals=wheel.normals @ up.T)
    wheels = [wheel.moved(to=(x, 0.13, z)) for x in (-0.36, 0.12, 0.42) for z in (-0.26, 0.18)]
    cab = box((0.28, 0.42, 0.42), plain(trim), gloss=0.4).moved(to=(0.4, 0.14, 0))
    window = box((0.18, 0.15, 0.43), plain((0.25, 0.35, 0.42)), gloss=0.9).moved(to=(0.42, 0.36, 0))
    frame = box((0.9, 0.06, 0.36), plain(STEEL)).moved(to=(-0.05, 0.14, 0))
    body_cover: Texture = lambda u, v: cover(0.5 + (u - 0.5) * 0.5, v)  # noqa: E731
    if design.variant == "box body":
        load = [box((0.66, 0.46, 0.44), body_cover).moved(to=(-0.18, 0.2, 0))]
    elif design.variant == "tank body":
        tank = _lying(revolved([(0.01, 0), (0.2, 0.02), (0.23, 0.08), (0.23, 0.56), (0.2, 0.62), (0.01, 0.64)], cover))
        load = [tank.moved(to=(-0.5, 0.43, 0))]
    else:
        sides = [box((0.66, 0.2, 0.03), body_cover).moved(to=(-0.18, 0.2, z)) for z in (-0.2, 0.2)]
        load = [*sides, box((0.03, 0.2, 0.42), plain(trim)).moved(to=(-0.5, 0.2, 0))]
    return [*wheels, cab, window, frame, *load]


def _bell(design: Design, cover: Texture, trim: Colour) -> list[Surface]:
    body = revolved([(0.34, 0.0), (0.3, 0.06), (0.22, 0.2), (0.18, 0.4), (0.1, 0.48), (0.01, 0.5)], cover, gloss=0.7)
    if design.variant == "loop handle":
        return [body, tube(arc((0, 0.64, 0), 0.15, begin=-90, end=270), 0.03, trim)]
    stem = revolved([(0.05, 0.48), (0.04, 0.6), (0.07, 0.72), (0.05, 0.88), (0.01, 0.9)], plain(trim))
    if design.variant == "straight handle":
        return [body, stem]
    ball = [(0.13 * math.sin(a), 0.74 - 0.13 * math.cos(a)) for a in np.linspace(0.05, math.pi - 0.05, 16)]
    return [body, revolved([(0.04, 0.48), (0.04, 0.64)], plain(STEEL)), revolved(ball, plain(trim), gloss=0.5)]


_BUILDERS: dict[str, Callable[[Design, Texture, Colour], list[Surface]]] = dict(
    zip(
        VARIANTS,
        (
            _jar, _lantern, _watering_can, _stool, _birdhouse, _hand_weight, _planter, _carton, _sprayer, _mill,
            _truck, _bell,
        ),
        strict=True,
    )
)  # fmt: skip
