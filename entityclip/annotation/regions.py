"""Where in a picture entities are: windows of several sizes are tagged, and the best of those that are sure remain.

Coarse by design: no detector is trained, a box is the best of some hundreds of squares. It helps where a picture shows
several things, as a shelf does; a person draws exact boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from entityclip.schemas import Region, Tag

SIZES = (1.0, 0.7, 0.5, 0.35, 0.25)
"""Sides of the windows, as shares of the picture's shorter side."""
STEP = 0.25
"""Distance of two windows, as a share of their side."""
SMALLEST = 32
"""Side of the smallest window, in pixels."""
MOST = 600
"""Windows of one picture; a picture of 4:3 has about four hundred, a long strip many more."""
NEAR = 0.3
"""Intersection over union from which on two windows show the same place."""
INSIDE = 0.1
"""Share of the smaller of two regions that lies in the other one, below which they may be two things."""


class Box(NamedTuple):
    """Part of a picture, in pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        """Pixels inside."""
        return max(0, self.right - self.left) * max(0, self.bottom - self.top)


def windows(width: int, height: int) -> list[Box]:
    """The whole picture, then squares that cover it: of every size, but for small ones beyond ``MOST``."""
    found = [Box(0, 0, width, height)]
    for share in SIZES:
        side = round(share * min(width, height))
        tops, lefts = _places(height, side), _places(width, side)
        if side >= SMALLEST and len(found) + len(tops) * len(lefts) <= MOST:
            found += [Box(left, top, left + side, top + side) for top in tops for left in lefts]
    return list(dict.fromkeys(found))


def _places(length: int, side: int) -> list[int]:
    count = 1 + int(np.ceil((length - side) / (STEP * side)))
    return [int(place) for place in np.linspace(0, length - side, count).round()]


def crops(picture: Image.Image) -> tuple[list[Box], list[Image.Image]]:
    """The windows of a picture, and their contents."""
    boxes = windows(*picture.size)
    return boxes, [picture.crop(box) for box in boxes]


def box_of(region: Region) -> Box:
    """Where a region is."""
    return Box(region.left, region.top, region.left + region.width, region.top + region.height)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    both = _both(one, other)
    return both / (one.area + other.area - both) if both else 0.0


def _both(one: Box, other: Box) -> int:
    """Pixels in both."""
    left, top = max(one.left, other.left), max(one.top, other.top)
    return Box(left, top, min(one.right, other.right), min(one.bottom, other.bottom)).area


def regions(boxes: Sequence[Box], tags: Sequence[Sequence[Tag]]) -> list[Region]:
    """What the windows show, the surest first, without overlaps.

    A thing is seen in several windows around it, and a chance likeness in one: first come windows with most others of
    the same entity near them, and among equals the most similar.

    Args:
        boxes: Windows of one picture.
        tags: Of each window, best first; a window counts if its first tag is above the threshold.
    """
    sure = [(box, of[0]) for box, of in zip(boxes, tags, strict=True) if of and of[0].above_threshold]

    def rank(found: tuple[Box, Tag]) -> tuple[int, float]:
        box, tag = found
        near = sum(other.entity_id == tag.entity_id and overlap(box, place) >= NEAR for place, other in sure)
        return near, tag.score

    kept: list[tuple[Box, Tag]] = []
    for box, tag in sorted(sure, key=rank, reverse=True):
        if all(_both(box, place) < INSIDE * min(box.area, place.area) for place, _ in kept):
            kept.append((box, tag))
    return [
        Region(
            entity_id=tag.entity_id,
            entity=tag.entity,
            confidence=tag.confidence,
            left=box.left,
            top=box.top,
            width=box.right - box.left,
            height=box.bottom - box.top,
        )
        for box, tag in kept
    ]
