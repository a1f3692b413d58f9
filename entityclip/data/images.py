"""Decoding and preprocessing of pictures, shared by ingest, training, evaluation and service."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import ExifTags, Image, ImageCms, JpegImagePlugin, UnidentifiedImageError
from pydantic import Field

from entityclip.data.image_metadata import without_metadata
from entityclip.data.picture_memory import BUDGET
from entityclip.errors import ImageError
from entityclip.schemas import Record

if TYPE_CHECKING:
    import torch

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 64_000_000
"""More than phones take and scanners give; see ``PIXEL_BYTES`` for what they take in memory."""
MAX_WEBP_PIXELS = 32_000_000
PIXEL_BYTES = 12
"""Memory that decoding takes at most: three copies in Pillow, or one beside the coefficients of a progressive JPEG."""
WEBP_PIXEL_BYTES = 25
MIN_SIDE = 8
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> transposition that turns the picture upright."""
_BAND_PIXELS = 1_000_000
_SAME_COLOUR = 3
"""Tolerance, of 255, between sRGB profiles that round the curve differently."""

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
}
SUFFIXES = frozenset(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
"""Suffixes of readable pictures, in lower case."""

_OTHERS = {b"%PDF": "PDF", b"<svg": "SVG", b"<?xml": "SVG or XML", b"<!DOCTYPE": "HTML", b"<html": "HTML", b"PK": "ZIP"}


# ---------------------------------------------------------------- from bytes
def decode(data: bytes, *, suffix: str = "") -> Image.Image:
    """As ``opened``, for a caller that holds no more than one picture at a time."""
    with opened(data, suffix=suffix) as picture:
        return picture


@contextmanager
def opened(data: bytes, *, suffix: str = "") -> Iterator[Image.Image]:
    """The picture in ``data`` as sRGB, turned upright by its EXIF orientation, transparency on white.

    Its colour profile is applied. The result holds only pixels: no comment, EXIF or XMP of the file.

    Reads JPEG, PNG, WebP, GIF, BMP and TIFF; of an animation or a multi-page file, the first frame. The size is
    checked in the header before pixels are decoded. ``suffix`` is the suffix of the file name: a suffix that does
    not match the content is an error. An empty suffix is not checked.

    The block waits until the memory that decoding takes is free (``picture_memory``) and holds it until it ends, so
    that threads which work on what they need inside it never take more than was documented.

    Raises:
        ImageError: The picture cannot be used; ``reason`` says why.
    """
    image, kind = _checked(data, suffix=suffix)
    with BUDGET.taken(decoded_bytes(image)):
        picture = _decoded(image, kind)
        del image
        yield picture


def _checked(data: bytes, *, suffix: str = "") -> tuple[Image.Image, str]:
    """The picture with its header read and no pixel decoded, and what it is; within every limit."""
    if not data:
        raise ImageError("empty file")
    if len(data) > MAX_BYTES:
        raise ImageError(f"{len(data):,} bytes, at most {MAX_BYTES:,} are read")
    image = _opened(data)
    kind = "JPEG" if image.format == "MPO" else image.format or ""  # MPO: a JPEG with a second one behind it
    if suffix and suffix.lower() not in _SUFFIXES[kind]:
        raise ImageError(f"the content is {kind}, but the name ends in {suffix}")
    width, height = image.size
    most = MAX_WEBP_PIXELS if kind == "WEBP" else MAX_PIXELS
    if width * height > most:
        raise ImageError(f"{width} x {height} pixels, at most {most:,} are decoded of a {kind}")
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{width} x {height} pixels, at least {MIN_SIDE} on each side are needed")
    return image, kind


def _decoded(image: Image.Image, kind: str) -> Image.Image:
    try:
        image.load()
        return _pixels(_srgb(_upright(image)))
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever the broken bytes lead them to
        raise ImageError(f"broken or truncated {kind}: {error}") from None


def decoded_bytes(image: Image.Image) -> int:
    """Bytes that decoding takes at most, from the header alone; tests/data/test_picture_memory.py measures them."""
    return image.width * image.height * (WEBP_PIXEL_BYTES if image.format == "WEBP" else PIXEL_BYTES)


def strip_metadata(data: bytes, *, picture: Image.Image | None = None) -> bytes:
    """The file without metadata; see docs/privacy.md.

    A file without metadata is returned unchanged, so the function is idempotent. If possible, the compressed pixels
    are copied and stay bit-equal. Pictures with an EXIF rotation or a colour profile other than sRGB are re-encoded,
    since both are applied first: JPEG with its own quantisation tables, other formats as PNG. BMP, TIFF and animated
    WebP become PNG as well.

    Args:
        data: A file that ``decode`` takes.
        picture: Result of ``decode``, if available.

    Raises:
        ImageError: The picture cannot be used, or is too large after re-encoding.
    """
    image, kind = _checked(data)
    with BUDGET.taken(decoded_bytes(image)):  # Pillow decodes a PNG to find its EXIF
        applied = _orientation(image) == 1 and _profile(image) is None
        stripped = without_metadata(data, image.format or "") if applied else None
        if stripped is None:
            stripped = _reencoded(picture or _decoded(image, kind), image)
    if len(stripped) > MAX_BYTES:
        raise ImageError(f"{len(stripped):,} bytes without its metadata, at most {MAX_BYTES:,} are read")
    return stripped


def _reencoded(picture: Image.Image, original: Image.Image) -> bytes:
    stream = io.BytesIO()
    if not isinstance(original, JpegImagePlugin.JpegImageFile):
        picture.save(stream, "PNG")
    elif original.mode == "RGB":
        tables, sampling = original.quantization, JpegImagePlugin.get_sampling(original)
        picture.save(stream, "JPEG", qtables=tables, subsampling=sampling)
    else:
        picture.save(stream, "JPEG", quality=95)
    return stream.getvalue()


def _opened(data: bytes) -> Image.Image:
    """The image with only its header read."""
    try:
        return Image.open(io.BytesIO(data), formats=list(_SUFFIXES))
    except UnidentifiedImageError:
        start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n")
        looks = next((f" but {name}" for head, name in _OTHERS.items() if start.lower().startswith(head.lower())), "")
        looks = " but HEIC or AVIF" if data[4:8] == b"ftyp" else looks
        raise ImageError(f"not a JPEG, PNG, WebP, GIF, BMP or TIFF picture{looks}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # as in decode: a broken header may raise any exception
        raise ImageError(f"broken header: {error}") from None


def _pixels(image: Image.Image) -> Image.Image:
    """``image`` without metadata: Pillow would copy comments when it saves the picture."""
    image.info = {}
    return image


def _srgb(image: Image.Image) -> Image.Image:
    """Any colour mode to sRGB, with the profile applied; a profile that does not fit is ignored."""
    profile = _profile(image)
    if profile is None:
        return _rgb(image)
    if profile.input_mode == "RGB":
        rgb = _rgb(image)
        ImageCms.applyTransform(rgb, profile, inPlace=True)  # a copy of 64 megapixels would be 200 MB
        return rgb
    fits = image.mode == profile.input_mode and not image.has_transparency_data
    return ImageCms.applyTransform(image, profile) if fits else _rgb(image)  # type: ignore[return-value]


def _profile(image: Image.Image) -> Any | None:
    """The colour transform to sRGB; None if not needed."""
    profile = image.info.get("icc_profile")
    return _to_srgb(profile) if isinstance(profile, bytes) and profile else None


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes) -> Any | None:
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


def _rgb(image: Image.Image) -> Image.Image:
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


def _by_bands(image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """``to_rgb`` of some rows at a time: of a whole picture, its layers would take three times the memory."""
    made = Image.new("RGB", image.size)
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        made.paste(to_rgb(image.crop((0, top, image.width, min(top + rows, image.height)))), (0, top))
    return made


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """How the camera was held, as EXIF counts it; 1 is upright."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block says nothing about the picture itself
        return 1
    return orientation if orientation in _TURNS else 1


# ---------------------------------------------------------------- to the tower


class Preprocessing(Record):
    """What happens to a picture before the tower sees it. The checkpoint card carries it."""

    size: int = Field(default=96, ge=8, description="Side of the input square of the tower, in pixels.")
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize: Literal["shortest", "squash", "letterbox"] = Field(
        default="shortest",
        description="Crop the central square, squash the whole picture, or keep its proportions and pad with white.",
    )

    def square_of(self, data: bytes) -> np.ndarray:
        """``square`` of the picture in a file's bytes; no more of it is left in memory.

        Raises:
            ImageError: The picture cannot be used.
        """
        with opened(data) as picture:
            return self.square(picture)

    def square(self, image: Image.Image) -> np.ndarray:
        """The picture as a square, by ``resize``: (3, size, size) uint8.

        Only the visible part is resized. A very tall picture is squashed vertically first: Pillow resizes
        horizontally first, and 224 x 8,000,000 would not fit into memory.
        """
        how = Image.Resampling[self.interpolation.upper()]
        if self.resize == "letterbox":
            shown = _letterboxed(image, self.size, how)
        else:
            if self.resize == "squash" and image.height > 16 * image.width:
                image = image.resize((image.width, self.size), how)
            box = (0, 0, *image.size) if self.resize == "squash" else _centre(*image.size)
            shown = _rgb(image.resize((self.size, self.size), how, box=box))
        pixels = np.frombuffer(shown.tobytes(), dtype=np.uint8)  # half the time of np.asarray(image)
        return pixels.reshape(self.size, self.size, 3).transpose(2, 0, 1).copy()

    def normalise(self, squares: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) uint8 -> the same shape in float32, zero mean and unit spread per channel."""
        pixels = squares.float() / 255
        mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (pixels - mean) / std


def _centre(width: int, height: int) -> tuple[int, int, int, int]:
    """The box of the central square."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _letterboxed(image: Image.Image, size: int, how: Image.Resampling) -> Image.Image:
    """The whole picture in the middle of a white square, its longer side at ``size``."""
    longest = max(image.size)
    width, height = (max(1, round(size * side / longest)) for side in image.size)
    square = Image.new("RGB", (size, size), "white")
    square.paste(_rgb(image.resize((width, height), how)), ((size - width) // 2, (size - height) // 2))
    return square


class Augmentation(Record):
    """Augmentation of training pictures; each value is the width of a uniform distribution. Zero disables it."""

    crop: float = Field(default=0.5, gt=0, le=1, description="Minimum share of the picture's area that a crop keeps.")
    rotate: float = Field(default=10, ge=0, description="Maximum rotation, degrees.")
    flip: bool = Field(
        default=False,
        description="Mirror half of the pictures. Off by default: labels and logos are never mirrored in reality.",
    )
    light: float = Field(default=0.3, ge=0, lt=1, description="Maximum relative change of brightness and contrast.")
    saturation: float = Field(default=0.3, ge=0, lt=1, description="Maximum relative change of saturation.")
