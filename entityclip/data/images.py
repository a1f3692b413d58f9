"""Decoding of pictures, shared by ingest, training, evaluation and service."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import ExifTags, Image, JpegImagePlugin, UnidentifiedImageError

from entityclip.data.color import srgb_transform, to_srgb
from entityclip.data.image_metadata import without_metadata
from entityclip.data.picture_memory import BUDGET
from entityclip.errors import ImageError

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
        return _pixels(to_srgb(_upright(image)))
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
        applied = _orientation(image) == 1 and srgb_transform(image) is None
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
