"""Removes metadata from picture files: comments, EXIF (place, time, device), XMP, IPTC, previews.

Each function copies only the parts of a file that are needed to decode its pixels, so it needs no list of known kinds
of metadata. Nothing is re-encoded: pixels stay bit-equal, a file without metadata stays byte-equal, and a second pass
changes nothing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

_END_OF_SCAN = re.compile(rb"\xff+(?![\x00\xff\xd0-\xd7])")
_BARE = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))
"""JPEG markers without a segment; they are invalid between segments."""
_PNG_CHUNKS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_WEBP_CHUNKS = frozenset((b"VP8X", b"VP8 ", b"VP8L", b"ALPH"))
_WEBP_DROPPED = frozenset((b"ICCP", b"EXIF", b"XMP "))


def without_metadata(data: bytes, kind: str) -> bytes | None:
    """The file reduced to the parts that are needed to decode its pixels.

    A colour profile and an EXIF orientation are removed as well: apply them first.

    Args:
        data: A file that decodes.
        kind: Format, as Pillow names it.

    Returns:
        None if the format or the structure of the file is not supported: re-encode the picture then.
    """
    copy = _COPIES.get(kind)
    try:
        return copy(data) if copy else None
    except (IndexError, struct.error, _Unusual):
        return None


class _Unusual(Exception):
    """The file violates its format; decoders may still accept it."""


# ---------------------------------------------------------------- JPEG
def _jpeg(data: bytes) -> bytes:
    """The first picture of a JPEG or MPO file; anything after its end (a second picture, a film) is dropped."""
    if data[:2] != b"\xff\xd8":
        raise _Unusual
    return b"".join((b"\xff\xd8", *_jpeg_parts(data)))


def _jpeg_parts(data: bytes) -> Iterator[bytes]:
    at = 2
    while True:
        if data[at] != 0xFF:
            raise _Unusual
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        if marker == 0xD9:
            yield b"\xff\xd9"
            return
        (length,) = struct.unpack_from(">H", data, at + 1)
        body, at = data[at + 3 : at + 1 + length], at + 1 + length
        if marker in _BARE or length < 2 or len(body) != length - 2:
            raise _Unusual
        kept = _jpeg_segment(marker, body)
        if kept is not None:
            yield bytes((0xFF, marker)) + struct.pack(">H", len(kept) + 2) + kept
        if marker == 0xDA:
            end = _END_OF_SCAN.search(data, at)
            if end is None:
                raise _Unusual
            yield data[at : end.start()]
            at = end.start()


def _jpeg_segment(marker: int, body: bytes) -> bytes | None:
    """The kept part of a segment. Of application segments only JFIF and Adobe, which define the colours."""
    if marker == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= 14:
        return body[:12] + b"\0\0"  # without the preview
    if marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
        return body[:12]
    return None if marker == 0xFE or 0xE0 <= marker <= 0xEF else body


# ---------------------------------------------------------------- PNG
def _png(data: bytes) -> bytes:
    """Header, palette, transparency, pixels; of an animation the default picture."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise _Unusual
    kept, at, name = [data[:8]], 8, b""
    while name != b"IEND":
        (length,), name = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        chunk, at = data[at : at + 12 + length], at + 12 + length
        if len(chunk) != 12 + length:
            raise _Unusual
        if name in _PNG_CHUNKS:
            kept.append(chunk)
    return b"".join(kept)


# ---------------------------------------------------------------- GIF
def _gif(data: bytes) -> bytes:
    """Palette and first frame, with its transparency."""
    at = 13 + _gif_palette(data[10])
    kept = [data[:at]]
    while data[at] == 0x21:
        end = _gif_blocks(data, at + 2)
        if data[at + 1] == 0xF9:
            kept.append(data[at:end])
        at = end
    if data[at] != 0x2C:
        raise _Unusual
    pixels = at + 10 + _gif_palette(data[at + 9])
    end = _gif_blocks(data, pixels + 1)
    return b"".join((*kept, data[at:end], b";"))


def _gif_palette(flags: int) -> int:
    """Size of the palette in bytes, by its flags."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_blocks(data: bytes, at: int) -> int:
    """End of the chain of blocks that starts at ``at``."""
    while data[at]:
        at += 1 + data[at]
    return at + 1


# ---------------------------------------------------------------- WebP
def _webp(data: bytes) -> bytes:
    """A still picture with its transparency."""
    (size,) = struct.unpack_from("<I", data, 4)
    kept, at = [], 12
    while at < min(8 + size, len(data)):
        name, (length,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        chunk, at = data[at : at + 8 + length], at + 8 + length + length % 2
        if name in _WEBP_CHUNKS:
            kept.append((_webp_header(chunk) if name == b"VP8X" else chunk) + b"\0" * (length % 2))
        elif name not in _WEBP_DROPPED:
            raise _Unusual
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_header(chunk: bytes) -> bytes:
    """The header without flags for profile, EXIF and XMP."""
    return chunk[:8] + bytes((chunk[8] & ~0x2C,)) + chunk[9:18]


_COPIES: dict[str, Callable[[bytes], bytes]] = {"JPEG": _jpeg, "MPO": _jpeg, "PNG": _png, "GIF": _gif, "WEBP": _webp}
