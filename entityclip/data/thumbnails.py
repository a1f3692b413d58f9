"""Small copies of pictures, for pages."""

from __future__ import annotations

import io

from entityclip.data.images import decode

SIDE = 224
"""Longest side in pixels."""


def thumbnail(picture: bytes, *, side: int = SIDE) -> bytes:
    """A small JPEG of the picture, without metadata.

    Args:
        picture: A file that ``decode`` takes.
        side: Longest side in pixels; a smaller picture is not enlarged.

    Raises:
        ImageError: The picture cannot be used.
    """
    small = decode(picture)
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()
