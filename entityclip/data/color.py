"""Conversion of any colour mode and profile to sRGB without transparency."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from entityclip.errors import ImageError

_BAND_PIXELS = 1_000_000
_SAME_COLOUR = 3
"""Tolerance, of 255, between sRGB profiles that round the curve differently."""


def to_srgb(image: Image.Image) -> Image.Image:
    """Any colour mode to sRGB, with the profile applied; a profile that does not fit is ignored."""
    profile = srgb_transform(image)
    if profile is None:
        return to_rgb(image)
    if profile.input_mode == "RGB":
        rgb = to_rgb(image)
        ImageCms.applyTransform(rgb, profile, inPlace=True)  # a copy of 64 megapixels would be 200 MB
        return rgb
    fits = image.mode == profile.input_mode and not image.has_transparency_data
    return ImageCms.applyTransform(image, profile) if fits else to_rgb(image)  # type: ignore[return-value]


def srgb_transform(image: Image.Image) -> Any | None:
    """The colour transform to sRGB; None if not needed."""
    profile = image.info.get("icc_profile")
    return _transform(profile) if isinstance(profile, bytes) and profile else None


@lru_cache(maxsize=16)
def _transform(profile: bytes) -> Any | None:
    """The ``ImageCmsTransform`` of a profile; None for any sRGB profile and for invalid ones."""
    try:
        source = ImageCms.getOpenProfile(io.BytesIO(profile))
        mode = {"GRAY": "L", "CMYK": "CMYK"}.get(source.profile.xcolor_space.strip(), "RGB")
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None
    if mode != "RGB":
        return transform
    colours = np.stack(np.meshgrid(*[np.arange(0, 256, 17, dtype=np.uint8)] * 3), axis=-1).reshape(64, 64, 3)
    seen = np.asarray(ImageCms.applyTransform(Image.fromarray(colours), transform))
    return transform if np.abs(seen.astype(int) - colours).max() > _SAME_COLOUR else None


def to_rgb(image: Image.Image) -> Image.Image:
    """Any colour mode to RGB."""
    if image.mode in ("I", "F"):
        raise ImageError("32-bit samples; save the picture with 8 or 16 bits per channel")
    if image.mode.startswith("I;16"):  # Pillow's own conversion cuts off at 255
        return _by_bands(image, lambda rows: Image.fromarray((np.asarray(rows) >> 8).astype(np.uint8)).convert("RGB"))
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")  # a copy costs as much as decoding
    return _by_bands(image, _on_white)


def _on_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _by_bands(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """``convert`` of some rows at a time: of a whole picture, its layers would take three times the memory."""
    made = Image.new("RGB", image.size)
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        made.paste(convert(image.crop((0, top, image.width, min(top + rows, image.height)))), (0, top))
    return made
