"""The one way a picture gets from a file to the tower: used by ingest, training, evaluation and service."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from pydantic import Field

from entityclip.errors import ImageError
from entityclip.records import Record

if TYPE_CHECKING:
    import torch

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 64_000_000
"""More than phones take and scanners give; decoded, such a picture needs about 200 MB."""
MIN_SIDE = 8

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
}
SUFFIXES = frozenset(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
"""What the names of readable pictures end in, in lower case."""

_OTHERS = {b"%PDF": "PDF", b"<svg": "SVG", b"<?xml": "SVG or XML", b"<!DOCTYPE": "HTML", b"<html": "HTML", b"PK": "ZIP"}


# ---------------------------------------------------------------- from bytes
def decode(data: bytes, *, suffix: str = "") -> Image.Image:
    """The picture in ``data`` as RGB, turned upright by its EXIF orientation, transparency on white.

    JPEG, PNG, WebP, GIF, BMP and TIFF are read; of an animation or a multi-page file, the first frame. Size is
    checked in the header, before a single pixel is decoded. ``suffix`` is what the file's name ends in: a name
    that says something else than the content is refused, because then one of the two is a mistake. An empty
    suffix claims nothing.

    Raises:
        ImageError: The picture cannot be used; ``reason`` says why.
    """
    if not data:
        raise ImageError("empty file")
    if len(data) > MAX_BYTES:
        raise ImageError(f"{len(data):,} bytes, at most {MAX_BYTES:,} are read")
    image = _opened(data)
    kind = "JPEG" if image.format == "MPO" else image.format or ""  # MPO: a JPEG with a second one behind it
    if suffix and suffix.lower() not in _SUFFIXES[kind]:
        raise ImageError(f"the content is {kind}, but the name ends in {suffix}")
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height} pixels, at most {MAX_PIXELS:,} are decoded")
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{width} x {height} pixels, at least {MIN_SIDE} on each side are needed")
    try:
        image.load()
        return _rgb(_upright(image))
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever the broken bytes lead them to
        raise ImageError(f"broken or truncated {kind}: {error}") from None


def _opened(data: bytes) -> Image.Image:
    """Header read, no pixel decoded."""
    try:
        return Image.open(io.BytesIO(data), formats=list(_SUFFIXES))
    except UnidentifiedImageError:
        start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n")
        looks = next((f" but {name}" for head, name in _OTHERS.items() if start.lower().startswith(head.lower())), "")
        looks = " but HEIC or AVIF" if data[4:8] == b"ftyp" else looks
        raise ImageError(f"not a JPEG, PNG, WebP, GIF, BMP or TIFF picture{looks}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # as in decode: a broken header may raise anything
        raise ImageError(f"broken header: {error}") from None


def _rgb(image: Image.Image) -> Image.Image:
    """Any colour mode to RGB."""
    if image.mode in ("I", "F"):
        raise ImageError("32-bit samples; save the picture with 8 or 16 bits per channel")
    if image.mode.startswith("I;16"):  # Pillow's own conversion cuts off at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")  # a copy of it costs as much as decoding
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image) if image.getexif().get(ExifTags.Base.Orientation, 1) != 1 else image
    except Exception:  # a broken EXIF block says nothing about the picture itself
        return image


# ---------------------------------------------------------------- to the tower


class Preprocessing(Record):
    """What happens to a picture before the tower sees it. The checkpoint card carries it."""

    size: int = Field(default=96, ge=8, description="Side of the square that the tower sees, in pixels.")
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize: Literal["shortest", "squash"] = Field(
        default="shortest", description="Cut the central square out, or squash the whole picture into one."
    )

    def square(self, image: Image.Image) -> np.ndarray:
        """The central square, or the whole picture squashed into one, at ``size``: (3, size, size) uint8.

        Only what is shown is resized, and a very high picture is squashed downwards first: Pillow goes sideways
        first, and 224 x 8,000,000 would not fit into memory.
        """
        how = Image.Resampling[self.interpolation.upper()]
        if self.resize == "shortest":
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            box = (left, top, left + side, top + side)
        else:
            if image.height > 16 * image.width:
                image = image.resize((image.width, self.size), how)
            box = (0, 0, *image.size)
        resized = image.resize((self.size, self.size), how, box=box)
        pixels = np.frombuffer(_rgb(resized).tobytes(), dtype=np.uint8)  # half the time of np.asarray(image)
        return pixels.reshape(self.size, self.size, 3).transpose(2, 0, 1).copy()

    def normalise(self, squares: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) uint8 -> the same shape in float32, zero mean and unit spread per channel."""
        pixels = squares.float() / 255
        mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (pixels - mean) / std


class Augmentation(Record):
    """How training pictures are varied; every value is the width of a uniform draw. Zero switches it off."""

    crop: float = Field(default=0.5, gt=0, le=1, description="Least share of the picture's area that a crop keeps.")
    rotate: float = Field(default=10, ge=0, description="Largest rotation, degrees.")
    flip: bool = Field(default=True, description="Mirror half of the pictures.")
    light: float = Field(default=0.3, ge=0, lt=1, description="Largest relative change of brightness and contrast.")
    saturation: float = Field(default=0.3, ge=0, lt=1, description="Largest relative change of saturation.")
