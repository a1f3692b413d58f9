"""Silhouettes of the synthetic products, as data: shapes with their fills, from back to front."""

from __future__ import annotations

from typing import Literal, NamedTuple

Tone = Literal["body", "accent", "dark", "light"]
Form = Literal["polygon", "ellipse", "rounded", "line", "arc"]


class Shape(NamedTuple):
    """One part of a silhouette.

    ``points`` are x, y in hundredths of the side: corners of a polygon, or two of a box; an arc also has two angles.
    ``width`` is the width of a line or an arc, or the radius of rounded corners.
    """

    tone: Tone
    form: Form
    points: tuple[float, ...]
    width: float = 0.0


class Silhouette(NamedTuple):
    """Shapes from back to front, the part with the accent colour, and the centre of the label."""

    accent_part: str
    label_at: tuple[float, float]
    shapes: tuple[Shape, ...]


SILHOUETTES: dict[str, Silhouette] = {
    "kettle": Silhouette(
        "handle",
        (48, 68),
        (
            Shape("accent", "arc", (26, 8, 70, 70, 180, 360), 8),
            Shape("body", "polygon", (66, 50, 88, 32, 95, 39, 74, 72)),
            Shape("dark", "ellipse", (42, 29, 54, 41)),
            Shape("body", "polygon", (30, 38, 66, 38, 78, 90, 18, 90)),
        ),
    ),
    "lamp": Silhouette(
        "base",
        (50, 36),
        (
            Shape("dark", "line", (50, 48, 50, 86), 5),
            Shape("accent", "rounded", (26, 82, 74, 94), 6),
            Shape("body", "polygon", (36, 8, 64, 8, 88, 56, 12, 56)),
        ),
    ),
    "speaker": Silhouette(
        "cone",
        (50, 83),
        (
            Shape("body", "rounded", (24, 6, 76, 94), 6),
            Shape("dark", "ellipse", (43, 11, 57, 25)),
            Shape("accent", "ellipse", (31, 32, 69, 70)),
            Shape("dark", "ellipse", (43, 44, 57, 58)),
        ),
    ),
    "fan": Silhouette(
        "blades",
        (50, 88),
        (
            Shape("dark", "line", (50, 66, 50, 86), 6),
            Shape("body", "ellipse", (14, 2, 86, 74)),
            Shape("accent", "polygon", (50, 38, 40, 8, 56, 10)),
            Shape("accent", "polygon", (50, 38, 79, 48, 70, 60)),
            Shape("accent", "polygon", (50, 38, 26, 59, 19, 45)),
            Shape("dark", "ellipse", (44, 32, 56, 44)),
            Shape("body", "rounded", (24, 80, 76, 96), 6),
        ),
    ),
    "clock": Silhouette(
        "bells",
        (50, 79),
        (
            Shape("dark", "line", (28, 82, 18, 97), 5),
            Shape("dark", "line", (72, 82, 82, 97), 5),
            Shape("accent", "ellipse", (12, 4, 42, 30)),
            Shape("accent", "ellipse", (58, 4, 88, 30)),
            Shape("body", "ellipse", (11, 13, 89, 92)),
            Shape("light", "ellipse", (31, 25, 69, 63)),
            Shape("dark", "line", (50, 44, 50, 30), 3),
            Shape("dark", "line", (50, 44, 61, 49), 3),
        ),
    ),
    "bottle": Silhouette(
        "cap",
        (50, 70),
        (
            Shape("accent", "rounded", (38, 3, 62, 20), 3),
            Shape("body", "polygon", (41, 19, 59, 19, 59, 32, 71, 46, 71, 96, 29, 96, 29, 46, 41, 32)),
        ),
    ),
    "toaster": Silhouette(
        "base",
        (48, 57),
        (
            Shape("light", "rounded", (22, 16, 44, 44), 6),
            Shape("light", "rounded", (54, 16, 76, 44), 6),
            Shape("dark", "rounded", (86, 44, 96, 54), 3),
            Shape("accent", "rounded", (12, 74, 88, 90), 3),
            Shape("body", "rounded", (8, 32, 90, 80), 10),
        ),
    ),
    "radio": Silhouette(
        "dial",
        (50, 80),
        (
            Shape("dark", "line", (74, 34, 92, 4), 3),
            Shape("body", "rounded", (6, 30, 94, 90), 7),
            Shape("dark", "ellipse", (13, 37, 45, 69)),
            Shape("accent", "ellipse", (57, 37, 87, 67)),
            Shape("dark", "line", (72, 52, 79, 43), 3),
        ),
    ),
    "chair": Silhouette(
        "legs",
        (50, 28),
        (
            Shape("accent", "line", (31, 64, 31, 84), 6),
            Shape("accent", "line", (69, 64, 69, 84), 6),
            Shape("body", "rounded", (26, 4, 74, 58), 8),
            Shape("accent", "line", (22, 66, 16, 97), 7),
            Shape("accent", "line", (78, 66, 84, 97), 7),
            Shape("body", "polygon", (24, 52, 76, 52, 86, 69, 14, 69)),
        ),
    ),
    "mug": Silhouette(
        "handle",
        (42, 58),
        (
            Shape("accent", "arc", (52, 32, 94, 76, 0, 360), 9),
            Shape("body", "rounded", (12, 18, 72, 92), 7),
            Shape("dark", "ellipse", (12, 12, 72, 26)),
        ),
    ),
    "camera": Silhouette(
        "lens ring",
        (27, 62),
        (
            Shape("dark", "rounded", (30, 16, 62, 36), 4),
            Shape("dark", "rounded", (72, 23, 84, 32), 2),
            Shape("body", "rounded", (4, 28, 96, 84), 7),
            Shape("accent", "ellipse", (48, 34, 92, 78)),
            Shape("dark", "ellipse", (57, 43, 83, 69)),
        ),
    ),
    "backpack": Silhouette(
        "pocket",
        (50, 40),
        (
            Shape("dark", "arc", (38, 2, 62, 28, 180, 360), 4),
            Shape("dark", "rounded", (12, 40, 26, 84), 6),
            Shape("dark", "rounded", (74, 40, 88, 84), 6),
            Shape("body", "rounded", (20, 12, 80, 95), 18),
            Shape("accent", "rounded", (30, 60, 70, 89), 5),
        ),
    ),
}
"""Kinds of product."""
