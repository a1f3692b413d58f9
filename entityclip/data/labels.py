"""Reads the text that is printed on pictures: codes and names on labels, in Latin letters, Japanese and Chinese.

RapidOCR runs the PP-OCRv6 small models on ONNX Runtime. The models are files of its package, so nothing is downloaded.
A large picture is read once as a whole, for large letters and long lines, and then in tiles at full resolution.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from entityclip.data import resources
from entityclip.data.color import to_rgb
from entityclip.data.images import opened
from entityclip.errors import ConfigError
from entityclip.schemas import Label, Reading
from entityclip.schemas.labels import Box, Outcome

WHOLE = 1600
"""Longer side up to which a picture is read in one piece; a larger one is reduced to it before its tiles are read."""

TILE = 1280
"""Side of a tile in pixels."""

OVERLAP = 256
"""Pixels that neighbouring tiles share at least, so that a short line is whole in one of them."""

SLENDEREST = 4
"""Longer side divided by the shorter one, at most, of what the detector is given; see ``_padded``."""

SAME = 0.5
"""Two lines that share this much of the smaller one's area are one line, read twice."""

_METHOD = 1
"""Counts the changes of what this module does with a picture."""

_MODELS = {
    "Det.model_path": "PP-OCRv6_det_small.onnx",
    "Cls.model_path": "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "Rec.model_path": "PP-OCRv6_rec_small.onnx",
}

Tile = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels."""


def can_read() -> bool:
    """Whether the extra ``labels`` is installed; it is not imported."""
    return find_spec("rapidocr") is not None


def require_reader() -> None:
    """Refuse to go on without the extra ``labels``; it is not imported.

    Raises:
        ConfigError: It is not installed.
    """
    if not can_read():
        raise ConfigError("the reader of labels is not installed; run: pip install 'entityclip[labels]'")


def reader_version() -> str:
    """Changes whenever the same picture may be read differently."""
    return f"rapidocr {version('rapidocr')}, method {_METHOD}"


class LabelReader:
    """Reads one picture at a time with all of its threads; threads may share it.

    Args:
        threads: Threads of ONNX Runtime; default: all cores that the process may use.

    Raises:
        ConfigError: The extra ``labels`` is not installed, or cannot be imported.
    """

    def __init__(self, *, threads: int | None = None) -> None:
        self._ocr, self._lock = _rapidocr(threads or resources.cores()), threading.Lock()

    def read_file(self, data: bytes, *, seconds: float | None = None) -> Reading:
        """As ``read``, of the picture in a file's bytes.

        Raises:
            ImageError: The picture cannot be used.
        """
        with opened(data) as picture:
            return self.read(picture, seconds=seconds)

    def read(self, picture: Image.Image, *, seconds: float | None = None) -> Reading:
        """The lines of text on an upright picture.

        Args:
            picture: Any size and mode.
            seconds: Time budget; None for no limit. The whole picture is always read; a tile only if there is as much
                time left as the longest one took.
        """
        began = now = time.monotonic()
        found, longest = list[Label](), 0.0
        outcome: Outcome = "read"
        for tile in tiles(*picture.size):
            if seconds is not None and longest and now - began + longest > seconds:
                outcome = "partly"
                break
            found += self._lines(picture, tile)
            before, now = now, time.monotonic()
            longest = max(longest, now - before)
        return Reading(outcome=outcome, labels=_merged(found), seconds=round(now - began, 3))

    def _lines(self, picture: Image.Image, tile: Tile) -> Iterator[Label]:
        """Lines in a tile; without those that an inner edge of the tile may have cut."""
        (left, top, right, _), (width, height) = tile, picture.size
        part = to_rgb(picture.crop(tile))
        part.thumbnail((WHOLE, WHOLE))
        scale = (right - left) / part.width
        with self._lock:
            read = self._ocr(np.ascontiguousarray(np.asarray(_padded(part))[:, :, ::-1]))  # BGR
        if read.txts is None or read.boxes is None:
            return
        for text, confidence, corners in zip(read.txts, read.scores, read.boxes, strict=True):
            x, y = np.asarray(corners, np.float64).T * scale + np.array([[left], [top]])
            box = (float(x.min()), float(y.min()), float(x.max()), float(y.max()))
            if not _cut(box, tile, width, height):
                yield Label(text=text, confidence=min(1.0, confidence), box=_shares(box, width, height))


def _rapidocr(threads: int) -> Any:
    try:
        import rapidocr
    except ImportError as error:
        raise ConfigError(
            f"the reader of labels is not installed ({error}); run: pip install 'entityclip[labels]'"
        ) from error
    models = Path(rapidocr.__file__).with_name("models")
    missing = [name for name in _MODELS.values() if not (models / name).is_file()]
    if missing:
        raise ConfigError(
            f"rapidocr {version('rapidocr')} has no {missing[0]}, which this version reads with; "
            "run: pip install 'entityclip[labels]'"
        )
    options: dict[str, Any] = {name: str(models / file) for name, file in _MODELS.items()}
    options |= {"Global.log_level": "critical", "EngineConfig.onnxruntime.intra_op_num_threads": threads}
    return rapidocr.RapidOCR(params=options)


# ---------------------------------------------------------------- tiles
def tiles(width: int, height: int) -> list[Tile]:
    """The parts of a picture that are read one after the other: the whole picture, then tiles if it is large."""
    whole = (0, 0, width, height)
    if max(width, height) <= WHOLE:
        return [whole]
    return [
        whole,
        *((x, y, min(width, x + TILE), min(height, y + TILE)) for y in _starts(height) for x in _starts(width)),
    ]


def _starts(side: int) -> list[int]:
    """Where tiles begin along a side, evenly spaced."""
    if side <= TILE:
        return [0]
    count = -(-(side - OVERLAP) // (TILE - OVERLAP))
    return [round(start) for start in np.linspace(0, side - TILE, count).tolist()]


def _padded(part: Image.Image) -> Image.Image:
    """The part with white below or beside it: of a long strip, the detector would enlarge both sides without limit."""
    shortest = max(part.size) // SLENDEREST
    if min(part.size) >= shortest:
        return part
    canvas = Image.new("RGB", (max(part.width, shortest), max(part.height, shortest)), "white")
    canvas.paste(part, (0, 0))
    return canvas


def _cut(box: Box, tile: Tile, width: int, height: int, *, margin: float = 3) -> bool:
    """Whether a line touches an edge of its tile that is not an edge of the picture."""
    left, top, right, bottom = tile
    return (
        (left > 0 and box[0] - left < margin)
        or (top > 0 and box[1] - top < margin)
        or (right < width and right - box[2] < margin)
        or (bottom < height and bottom - box[3] < margin)
    )


def _shares(box: Box, width: int, height: int) -> Box:
    shares = [min(1.0, max(0.0, value / side)) for value, side in zip(box, (width, height) * 2, strict=True)]
    left, top, right, bottom = (round(share, 4) for share in shares)
    return left, top, right, bottom


def _merged(labels: Sequence[Label]) -> tuple[Label, ...]:
    """Each line once, as the reading with the most certain characters; from top to bottom, then from left to right."""
    kept: list[Label] = []
    for label in sorted(labels, key=lambda one: -one.confidence * len(one.text)):
        if all(_shared(label.box, other.box) < SAME for other in kept):
            kept.append(label)
    return tuple(sorted(kept, key=lambda one: (one.box[1], one.box[0])))


def _shared(one: Box, other: Box) -> float:
    """Share of the smaller box that lies in the other one."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return max(0.0, width) * max(0.0, height) / smaller if smaller > 0 else 0.0
