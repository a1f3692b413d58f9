"""Photographs of things made of surfaces: dense points with normals and colours, put through a camera's depth buffer.

A scene is lit by one lamp over a floor and before a wall. Coordinates: x to the right, y up, z towards the camera;
the floor is y = 0. Colours are linear RGB from 0 to 1.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

Colour = tuple[float, float, float]
Texture = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Coordinates u and v on a surface, (N,) each from 0 to 1 -> (N, 3) colours."""

DENSITY = 330
"""Points along one unit of length."""
OVERSAMPLING = 1.15
"""Side of the depth buffer over that of the picture."""


class Surface(NamedTuple):
    """N points of one or several things."""

    points: np.ndarray  # (N, 3)
    normals: np.ndarray  # (N, 3) unit
    colours: np.ndarray  # (N, 3)
    gloss: np.ndarray  # (N,) 0 matt, 1 polished

    def moved(self, *, scale: float = 1.0, turn: float = 0.0, to: Sequence[float] = (0, 0, 0)) -> Surface:
        """Scaled, turned about the vertical axis (radians), shifted."""
        c, s = math.cos(turn), math.sin(turn)
        matrix = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=np.float32)
        points = (self.points * scale) @ matrix.T + np.asarray(to, dtype=np.float32)
        return self._replace(points=points, normals=self.normals @ matrix.T)

    def stretched(self, up: float) -> Surface:
        """Taller by this factor."""
        normals = self.normals / np.array([1, up, 1], dtype=np.float32)
        unit = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        return self._replace(points=self.points * np.array([1, up, 1], dtype=np.float32), normals=unit)


def joined(parts: Sequence[Surface]) -> Surface:
    """Several surfaces as one."""
    return Surface(*(np.concatenate(field) for field in zip(*parts, strict=True)))


# ---------------------------------------------------------------- surfaces
def _surface(points: np.ndarray, normals: np.ndarray, colours: np.ndarray, gloss: float) -> Surface:
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    unit = normals / np.maximum(length, 1e-9)
    values = (points, unit, colours, np.full(len(points), gloss))
    return Surface(*(value.astype(np.float32) for value in values))


def _grid(across: float, along: float) -> tuple[np.ndarray, np.ndarray]:
    columns, rows = (max(12, int(DENSITY * length)) for length in (across, along))
    u, v = np.meshgrid((np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows)
    return u.ravel(), v.ravel()


def plain(colour: Colour) -> Texture:
    """One colour all over."""
    return lambda u, _: np.tile(np.asarray(colour), (len(u), 1))


def revolved(profile: Sequence[tuple[float, float]], texture: Texture, *, gloss: float = 0.2) -> Surface:
    """A profile of (radius, height) from bottom to top, turned about the vertical axis; u = 0.5 faces the camera."""
    corners = np.asarray(profile, dtype=float)
    steps = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    at = np.concatenate([[0], np.cumsum(steps)]) / steps.sum()
    u, v = _grid(2 * math.pi * corners[:, 0].max(), float(steps.sum()))
    radius, height = (np.interp(v, at, corners[:, axis]) for axis in (0, 1))
    side = np.minimum(np.searchsorted(at, v, side="right") - 1, len(steps) - 1)
    slope = np.diff(corners, axis=0)[side]
    angle = 2 * math.pi * (u - 0.5)
    points = np.stack([radius * np.sin(angle), height, radius * np.cos(angle)], axis=1)
    normals = np.stack([slope[:, 1] * np.sin(angle), -slope[:, 0], slope[:, 1] * np.cos(angle)], axis=1)
    return _surface(points, normals, texture(u, v), gloss)


def box(size: Sequence[float], front: Texture, *, rest: Texture | None = None, gloss: float = 0.1) -> Surface:
    """A box of (width, height, depth) that stands on the floor; ``front`` and its back wear the first texture."""
    w, h, d = size
    parts = []
    for axis, (a, b), sides in ((2, (w, h), (-1, 1)), (0, (d, h), (-1, 1)), (1, (w, d), (-1, 1))):
        u, v = _grid(a, b)
        for sign in sides:
            flat = np.full_like(u, sign / 2)
            x, y, z = {
                2: (sign * (u - 0.5) * w, v * h, flat * d),
                0: (flat * w, v * h, (u - 0.5) * d),
                1: ((u - 0.5) * w, (flat + 0.5) * h, (v - 0.5) * d),
            }[axis]
            normals = np.zeros((len(u), 3))
            normals[:, axis] = sign
            colours = (front if axis == 2 else rest or front)(u, v)
            parts.append(_surface(np.stack([x, y, z], axis=1), normals, colours, gloss))
    return joined(parts)


def tube(path: Sequence[Sequence[float]] | np.ndarray, radius: float, colour: Colour, *, gloss: float = 0.2) -> Surface:
    """A round bar along corners in space."""
    corners = np.asarray(path, dtype=float)
    steps = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    at = np.concatenate([[0], np.cumsum(steps)]) / steps.sum()
    u, v = _grid(2 * math.pi * radius, float(steps.sum()))
    middle = np.stack([np.interp(v, at, corners[:, axis]) for axis in range(3)], axis=1)
    side = np.minimum(np.searchsorted(at, v, side="right") - 1, len(steps) - 1)
    ahead = (np.diff(corners, axis=0) / steps[:, None])[side]
    helper = np.where(np.abs(ahead[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]])
    first = np.cross(ahead, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(ahead, first)
    angle = (2 * math.pi * u)[:, None]
    normals = np.cos(angle) * first + np.sin(angle) * second
    return _surface(middle + radius * normals, normals, plain(colour)(u, v), gloss)


def arc(centre: Sequence[float], radius: float, *, begin: float, end: float, depth: bool = False) -> np.ndarray:
    """Corners of an arc in the plane of the picture (or from front to back), degrees from the right, upwards."""
    angles = np.radians(np.linspace(begin, end, 24))
    level = np.zeros_like(angles)
    across, up = radius * np.cos(angles), radius * np.sin(angles)
    return np.asarray(centre) + np.stack([level if depth else across, up, across if depth else level], axis=1)


# ---------------------------------------------------------------- the photograph
class Shot(NamedTuple):
    """How a scene is photographed."""

    width: int
    height: int
    turn: float  # of the camera about the thing, radians
    tilt: float  # above the horizon, radians
    distance: float
    focal: float  # over the larger side
    light: tuple[float, float, float]  # towards the lamp
    warmth: float  # 1 neutral
    exposure: float  # 1 neutral
    noise: float
    blur: float  # standard deviation in pixels


def photograph(scene: Surface, shot: Shot, *, floor: Texture, wall: Colour, rng: np.random.Generator) -> bytes:
    """The scene as a JPEG. ``floor`` receives x and z in units, not from 0 to 1."""
    width, height = (int(OVERSAMPLING * side) for side in (shot.width, shot.height))
    eye, axes = _camera(shot)
    colours = _lit(scene, eye, shot)
    seen = (scene.points - eye) @ axes.T
    zoom = shot.focal * max(width, height)
    depth = seen[:, 2]
    x = (width / 2 + zoom * seen[:, 0] / depth).astype(int)
    y = (height / 2 - zoom * seen[:, 1] / depth).astype(int)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (depth > 0.1)
    pixel, depth, colours = (y * width + x)[inside], depth[inside], colours[inside]
    nearest = np.full(width * height, np.inf, dtype=np.float32)
    np.minimum.at(nearest, pixel, depth.astype(np.float32))
    front = depth < nearest[pixel] + 0.02
    pixel, colours = pixel[front], colours[front]
    count = np.bincount(pixel, minlength=width * height)
    sums = [np.bincount(pixel, weights=colours[:, c], minlength=width * height) for c in range(3)]
    thing = np.stack(sums, axis=1) / np.maximum(count, 1)[:, None]
    behind = _room(scene, shot, (width, height), floor=floor, wall=wall)
    picture = np.where((count > 0)[:, None], thing, behind).reshape(height, width, 3)
    return _developed(picture, shot, rng)


def _camera(shot: Shot) -> tuple[np.ndarray, np.ndarray]:
    """Its place, and its right, up and forward as rows."""
    away = np.array([
        math.sin(shot.turn) * math.cos(shot.tilt), math.sin(shot.tilt), math.cos(shot.turn) * math.cos(shot.tilt),
    ])  # fmt: skip
    forward = -away
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(right, forward), forward])
    return (np.array([0, 0.5, 0]) + shot.distance * away).astype(np.float32), axes.astype(np.float32)


def _lit(scene: Surface, eye: np.ndarray, shot: Shot) -> np.ndarray:
    """Colours under the lamp: diffuse light, a highlight, and a bright horizon mirrored by polished surfaces."""
    lamp = (np.asarray(shot.light) / np.linalg.norm(shot.light)).astype(np.float32)
    view = eye - scene.points
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    facing = np.sum(scene.normals * view, axis=1, keepdims=True)
    normals = np.where(facing < 0, -scene.normals, scene.normals)
    diffuse = np.clip(normals @ lamp * 0.75 + 0.25, 0, None)
    half = view + lamp
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    shine = scene.gloss * np.clip(np.sum(normals * half, axis=1), 0, None) ** (8 + 60 * scene.gloss)
    mirrored = 2 * np.abs(facing[:, 0]) * normals[:, 1] - view[:, 1]
    horizon = scene.gloss * 0.35 * np.exp(-((mirrored / 0.25) ** 2))
    ground = np.clip(scene.points[:, 1] / 0.15, 0.55, 1)
    light = (0.3 + 0.75 * diffuse) * ground
    return scene.colours * light[:, None] + (0.6 * shine + horizon)[:, None]


def _room(
    scene: Surface, shot: Shot, size: tuple[int, int], *, floor: Texture, wall: Colour, back: float = 2.2
) -> np.ndarray:
    """(width * height, 3): the floor with the scene's shadow, and the wall behind it."""
    width, height = size
    eye, axes = _camera(shot)
    zoom = shot.focal * max(width, height)
    x, y = np.meshgrid((np.arange(width) - width / 2) / zoom, (height / 2 - np.arange(height)) / zoom)
    rays = np.stack([x.ravel(), y.ravel(), np.ones(width * height)], axis=1) @ axes
    with np.errstate(divide="ignore"):
        down = np.where(rays[:, 1] < 0, -eye[1] / rays[:, 1], np.inf)
    forward = -np.array([math.sin(shot.turn), 0, math.cos(shot.turn)])
    to_wall = (back + shot.distance * math.cos(shot.tilt)) / np.maximum(rays @ forward, 1e-6)
    hit = np.minimum(down, to_wall)[:, None] * rays + eye
    ground = down < to_wall
    colours = np.asarray(wall) * np.clip(0.75 + 0.12 * hit[:, 1:2], 0.6, 1.1)
    colours[ground] = floor(hit[ground, 0], hit[ground, 2]) * _shadow(scene, shot, hit[ground])[:, None]
    return colours


def _shadow(scene: Surface, shot: Shot, ground: np.ndarray, *, cells: int = 160, reach: float = 2.5) -> np.ndarray:
    """(N,) light that reaches points of the floor."""
    lamp = np.asarray(shot.light)
    some = scene.points[::11]
    cast = some - some[:, 1:2] * (lamp / lamp[1])
    where = ((cast[:, [0, 2]] / reach + 1) * cells / 2).astype(int)
    where = where[((where >= 0) & (where < cells)).all(axis=1)]
    covered = np.bincount(where[:, 0] * cells + where[:, 1], minlength=cells * cells).reshape(cells, cells) > 0
    soft = gaussian_filter(covered.astype(float), 2.2)
    at = np.clip((ground[:, [0, 2]] / reach + 1) * cells / 2, 0, cells - 1).astype(int)
    return 1 - 0.6 * soft[at[:, 0], at[:, 1]]


def _developed(picture: np.ndarray, shot: Shot, rng: np.random.Generator) -> bytes:
    """Lens, sensor and JPEG."""
    picture = gaussian_filter(picture, (shot.blur, shot.blur, 0))
    tint = np.array([shot.warmth, 1.0, 1 / shot.warmth])
    shown = np.clip(picture * shot.exposure * tint, 0, 1) ** (1 / 1.6)
    shown = shown + rng.normal(0, shot.noise, shown.shape)
    frame = Image.fromarray((np.clip(shown, 0, 1) * 255).astype(np.uint8))
    stream = io.BytesIO()
    frame.resize((shot.width, shot.height), Image.Resampling.LANCZOS).save(stream, "JPEG", quality=85)
    return stream.getvalue()
