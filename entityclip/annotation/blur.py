"""Faces and number plates, made unrecognisable in copies of pictures.

They are found by the cascades that come with OpenCV (Viola and Jones, 2001), which need no network and no GPU. They
miss faces that are turned, covered, blurred or small: a person looks at the copies and corrects the regions.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

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


class FindRegions(Protocol):
    """Finds what has to be blurred."""

    def __call__(self, picture: Image.Image, *, file: str) -> Sequence[HiddenRegion]:
        """Regions of ``picture``, an upright one, whose name is ``file``."""
        ...


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

    def __call__(self, picture: Image.Image, *, file: str) -> list[HiddenRegion]:
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
class BlurredPicture(Record):
    """What became of one picture; a line of ``.blur.jsonl`` while copies are made."""

    file: str
    stamp: str = Field(description="Name, size and modification time when it was read.")
    regions: tuple[HiddenRegion, ...] = Field(default=(), description="What is blurred in its copy.")
    problem: str = Field(default="", description="Why it has no copy; '' where it has one.")


def blur_pictures(
    files: Sequence[PictureFile], find: FindRegions, *, to: Path | None, settings: str = "", progress: bool = False
) -> list[BlurredPicture]:
    """Copy pictures with their regions blurred, then write the table of regions.

    A call that was killed is continued by the same call: what it had copied is not read again unless it changed. The
    folder is finished once it holds the table.

    Args:
        files: Pictures of one folder.
        find: Regions of a picture.
        to: Folder for the copies, each under its file's name; None: only find the regions.
        settings: What else the copies depend on, such as the kinds of regions.
        progress: Show a bar.

    Raises:
        ConfigError: ``to`` is not empty and was not left by a call with these settings.
    """
    if to is None:
        return [_blur(file, find, to=None) for file in tqdm(files, unit="picture", disable=not progress)]
    journal = _Journal(to, settings=settings)
    done = journal.read()
    with tqdm(total=len(files), unit="picture", disable=not progress) as bar:
        for file in files:
            if file.name not in done or done[file.name].stamp != file.stamp:
                done[file.name] = _blur(file, find, to=to)
                journal.add(done[file.name])
            bar.update()
    for name in done.keys() - {file.name for file in files}:  # deleted since the call that was killed
        (to / name).unlink(missing_ok=True)
    blurred_pictures = [done[file.name] for file in files]
    with csv_file(to / TABLE, HiddenRegion.model_fields) as writer:
        for picture in blurred_pictures:
            for region in picture.regions:
                writer.write(region.model_dump().values())
    journal.path.unlink()
    return blurred_pictures


def _blur(file: PictureFile, find: FindRegions, *, to: Path | None) -> BlurredPicture:
    stamp = file.stamp
    try:
        data = file.read()
        with opened(data, suffix=Path(file.name).suffix) as picture:
            regions = find(picture, file=file.name)
            if to is not None:
                atomic_write(to / file.name, blurred(data, picture, [region.box for region in regions]))
    except EntityClipError as error:
        if to is not None:
            (to / file.name).unlink(missing_ok=True)
        return BlurredPicture(file=file.name, stamp=stamp, problem=str(error))
    return BlurredPicture(file=file.name, stamp=stamp, regions=tuple(regions))


class _Journal:
    """The pictures that are done, in a folder that is not finished: the settings, then a line each."""

    def __init__(self, folder: Path, *, settings: str) -> None:
        self.path, self._settings = folder / ".blur.jsonl", settings

    def read(self) -> dict[str, BlurredPicture]:
        """File -> what became of it; a new folder is made. A line that a kill cut off counts as not written."""
        if not self.path.is_file():
            if self.path.parent.exists() and any(self.path.parent.iterdir()):
                raise ConfigError(f"{self.path.parent}: exists; expected a new folder")
            atomic_write(self.path, json.dumps(self._settings) + "\n")
            return {}
        settings, *lines = self.path.read_text(encoding="utf-8").split("\n")
        if json.loads(settings) != self._settings:
            raise ConfigError(f"{self.path.parent}: was begun with other pictures or options; choose a new folder")
        whole = [BlurredPicture.model_validate_json(line) for line in lines[:-1]]
        atomic_write(self.path, "\n".join([settings, *lines[:-1], ""]))
        return {picture.file: picture for picture in whole}

    def add(self, picture: BlurredPicture) -> None:
        """Note that a picture is done."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(picture.model_dump_json() + "\n")


def given_regions(regions: Sequence[HiddenRegion], files: Sequence[PictureFile]) -> FindRegions:
    """The regions of a table, in place of those that a ``RegionFinder`` finds.

    Raises:
        DataError: A region is of a file that is not among ``files``.
    """
    of_file: dict[str, list[HiddenRegion]] = {file.name: [] for file in files}
    for number, region in enumerate(regions, 1):
        if region.file not in of_file:
            raise DataError(f"{TABLE}, row {number}: there is no picture {region.file}")
        of_file[region.file].append(region)

    def find(picture: Image.Image, *, file: str) -> list[HiddenRegion]:
        for region in of_file[file]:
            if region.right > picture.width or region.bottom > picture.height:
                size = f"{picture.width} x {picture.height}"
                raise DataError(f"{TABLE}: a region of {file} ends beyond its {size} pixels")
        return of_file[file]

    return find


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
