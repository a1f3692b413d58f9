"""Faces and number plates, made unrecognisable in copies of pictures.

They are found by the cascades that come with OpenCV (Viola and Jones, 2001), which need no network and no GPU. They
miss faces that are turned, covered, blurred or small: a person looks at the copies and corrects the regions.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps
from pydantic import Field, model_validator
from tqdm import tqdm

from entityclip.annotation.picture_files import PictureFile
from entityclip.annotation.regions import Box
from entityclip.data.images import opened, strip_metadata
from entityclip.errors import ConfigError, DataError, EntityClipError
from entityclip.schemas import Record
from entityclip.storage import atomic_write, csv_file, read_records

TABLE = "regions.csv"
"""Name of the table of regions, beside the copies."""

Found = Literal["face", "plate"]

CASCADES: dict[Found, tuple[str, ...]] = {
    "face": ("frontalface_alt2", "profileface"),
    "plate": ("russian_plate_number",),
}
"""Of OpenCV's ``haarcascade_*.xml``. That of profiles sees faces that look to the left, so that the mirrored picture is
searched as well. That of plates is for long ones, as most of Europe has them.
"""

SMALLEST = 20
"""Side of the smallest face, in pixels of the picture that is searched."""
SIDES = (700, 2000)
"""Longer side of the picture that is searched: a smaller one is enlarged, a larger one reduced."""
NEIGHBOURS = 3
"""Overlapping hits that a region needs."""
MARGIN = 0.25
"""What is blurred around a region, as a share of its sides: the cascades end above the chin and inside the ears."""
CELLS = 4
"""A region is reduced to so many cells in each direction, from which nothing can be restored."""


class HiddenRegion(Record):
    """A region that is blurred; a row of ``regions.csv``."""

    file: str = Field(min_length=1, description="Name of the picture, relative to its folder.")
    kind: str = Field(description="face or plate; anything else for a region that a person drew.")
    left: int = Field(ge=0, description="Pixels of the upright picture, as the other three.")
    top: int = Field(ge=0)
    right: int
    bottom: int

    @model_validator(mode="after")
    def _not_empty(self) -> HiddenRegion:
        if self.right <= self.left or self.bottom <= self.top:
            raise ValueError("expected left < right and top < bottom")
        return self

    @property
    def box(self) -> Box:
        """Its place."""
        return Box(self.left, self.top, self.right, self.bottom)


# ---------------------------------------------------------------- finding
class RegionFinder:
    """Finds faces and number plates.

    Args:
        kinds: What to look for.

    Raises:
        ConfigError: OpenCV is not installed, or a cascade is missing.
    """

    def __init__(self, kinds: Sequence[Found] = ("face", "plate")) -> None:
        self._cascades = [(kind, name, _cascade(name)) for kind in kinds for name in CASCADES[kind]]

    def find(self, picture: Image.Image, *, file: str) -> list[HiddenRegion]:
        """Regions of ``picture``, an upright one, with a margin; one that lies inside another is left out."""
        grey, longest = ImageOps.grayscale(picture), max(picture.size)
        scale = min(max(longest, SIDES[0]), SIDES[1]) / longest
        grey = grey.resize((max(1, round(grey.width * scale)), max(1, round(grey.height * scale))))
        pixels = np.asarray(grey)
        found = [(kind, box) for kind, name, cascade in self._cascades for box in _hits(cascade, name, pixels)]
        grown = [(kind, _grown(box, scale, picture.size)) for kind, box in found]
        kept = [(kind, box) for kind, box in dict.fromkeys(grown) if not any(_inside(box, other) for _, other in grown)]
        return [
            HiddenRegion(file=file, kind=kind, left=box.left, top=box.top, right=box.right, bottom=box.bottom)
            for kind, box in kept
        ]


def _cascade(name: str) -> Any:
    try:
        import cv2
        from cv2.data import haarcascades
    except ImportError as error:
        raise ConfigError(f"OpenCV is not installed ({error}); run: pip install 'entityclip[labels]'") from error
    path = Path(haarcascades) / f"haarcascade_{name}.xml"
    cascade = cv2.CascadeClassifier(str(path)) if path.is_file() else None
    if cascade is None or cascade.empty():
        raise ConfigError(f"{path}: OpenCV's cascade is missing; run: pip install 'entityclip[labels]'")
    return cascade


def _hits(cascade: Any, name: str, pixels: np.ndarray) -> Iterator[Box]:
    """Places in ``pixels``, an (H, W) uint8 array."""
    mirrors = (False, True) if name == "profileface" else (False,)
    for mirrored in mirrors:
        searched = np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels
        for left, top, width, height in cascade.detectMultiScale(
            searched, scaleFactor=1.1, minNeighbors=NEIGHBOURS, minSize=(SMALLEST, SMALLEST)
        ):
            start = pixels.shape[1] - left - width if mirrored else left
            yield Box(int(start), int(top), int(start + width), int(top + height))


def _grown(box: Box, scale: float, size: tuple[int, int]) -> Box:
    """The region with its margin, in pixels of the picture of ``size``."""
    aside, above = MARGIN * (box.right - box.left), MARGIN * (box.bottom - box.top)
    left, top = max(0, (box.left - aside) / scale), max(0, (box.top - above) / scale)
    right, bottom = min(size[0], (box.right + aside) / scale), min(size[1], (box.bottom + above) / scale)
    return Box(int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom)))


def _inside(box: Box, other: Box) -> bool:
    covers = other.left <= box.left and other.top <= box.top and other.right >= box.right and other.bottom >= box.bottom
    return covers and box != other


# ---------------------------------------------------------------- copies
class BlurredCopies:
    """Copies of pictures with regions blurred.

    Args:
        files: Pictures of one folder.
        finder: Finds the regions.
        regions: Blurred in place of what the finder finds, where given: the regions of all files.

    Raises:
        DataError: A region is of a file that is not among them.
    """

    def __init__(
        self,
        files: Sequence[PictureFile],
        *,
        finder: RegionFinder | None = None,
        regions: Sequence[HiddenRegion] | None = None,
    ) -> None:
        self._files, self._finder = files, finder or RegionFinder()
        self._given: Mapping[str, list[HiddenRegion]] | None = None
        self.regions: list[HiddenRegion] = []
        """Those that were blurred, once ``write`` is done."""
        self.unusable: list[tuple[str, str]] = []
        """Files that have no copy, and why."""
        if regions is not None:
            names = {file.name for file in files}
            for number, region in enumerate(regions, 1):
                if region.file not in names:
                    raise DataError(f"{TABLE}, row {number}: there is no picture {region.file}")
            self._given = {name: [region for region in regions if region.file == name] for name in names}

    def write(self, folder: Path | None, *, progress: bool) -> None:
        """Write a copy of each picture into ``folder``, under its name, and the table; None: only find the regions."""
        for file in tqdm(self._files, unit="picture", disable=not progress):
            try:
                data = file.read()
                with opened(data, suffix=Path(file.name).suffix) as picture:
                    regions = self._regions(picture, file.name)
                    copy = b"" if folder is None else blurred(data, picture, [region.box for region in regions])
            except EntityClipError as error:
                self.unusable.append((file.name, str(error)))
                continue
            self.regions += regions
            if folder is not None:
                atomic_write(folder / file.name, copy)
        if folder is not None:
            with csv_file(folder / TABLE, HiddenRegion.model_fields) as writer:
                for region in self.regions:
                    writer.write(region.model_dump().values())

    def _regions(self, picture: Image.Image, name: str) -> list[HiddenRegion]:
        if self._given is None:
            return self._finder.find(picture, file=name)
        for region in self._given[name]:
            if region.right > picture.width or region.bottom > picture.height:
                raise DataError(
                    f"{TABLE}: a region of {name} ends beyond its {picture.width} x {picture.height} pixels"
                )
        return self._given[name]


def read_regions(path: Path) -> list[HiddenRegion]:
    """The regions of a table.

    Raises:
        DataError: The table is missing or damaged; names the row.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such table; expected the {TABLE} of an earlier call, corrected")
    return read_records(path, HiddenRegion, remedy="correct it")


def blurred(data: bytes, picture: Image.Image, boxes: Sequence[Box]) -> bytes:
    """A file of the kind of ``data``, without metadata, whose parts in ``boxes`` cannot be recognised.

    Args:
        data: The file.
        picture: What ``decode`` makes of it.
        boxes: Parts of ``picture``.
    """
    kind = _kind(data)
    if not boxes:
        stripped = strip_metadata(data, picture=picture)
        if _kind(stripped) == kind:
            return stripped
    shown = picture.copy()
    for box in boxes:
        cells = shown.crop(box).resize((CELLS, CELLS), Image.Resampling.BOX)
        shown.paste(cells.resize((box.right - box.left, box.bottom - box.top), Image.Resampling.NEAREST), box)
    options: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}
    stream = io.BytesIO()
    shown.save(stream, kind, **options.get(kind, {}))
    return stream.getvalue()


def _kind(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as image:
        return str(image.format)
