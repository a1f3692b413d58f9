"""What people corrected in an annotation tool, and what that says about the tags."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from xml.etree import ElementTree

from entityclip.annotation.export import BOX, CHOICE, PRINTED
from entityclip.annotation.regions import Box, box_of, overlap
from entityclip.data.images import MIN_SIDE, opened
from entityclip.data.sources.table_files import open_table
from entityclip.errors import ConfigError, ImageError, SourceError
from entityclip.schemas import Annotation, Rejection
from entityclip.storage.csv_files import unguarded

SAME = 0.5
"""Intersection over union from which on a person's box is the one that was found, moved a little."""

CorrectionFormat = Literal["csv", "label-studio", "cvat", "coco"]


@dataclass(frozen=True)
class Correction:
    """What a person says that one picture shows."""

    file: str
    entity: str
    """Name; '' for nothing that is in the catalogue."""
    places: tuple[tuple[str, Box], ...] | None = None
    """Entities with their boxes; None in a format without boxes."""
    confirmed: bool = False
    """Whether a person has certainly looked at it. In a table, an untouched row may never have been read."""
    person: str = ""
    """As the tool names them; '' where it does not."""


@dataclass(frozen=True)
class TagJudgement:
    """One judgement about one entity and picture, as the service's ``/feedback`` takes it."""

    file: str
    release: str
    verdict: Literal["right", "wrong", "missing"]
    entity_id: str
    entity: str
    person: str
    box: Box | None = None
    """The part of the picture that it is about; None: all of it."""


def read_corrections(path: Path, *, of: CorrectionFormat) -> list[Correction]:
    """The corrections in a file that an annotation tool exported.

    Args:
        path: ``annotations.csv`` after editing; Label Studio's JSON; CVAT for images 1.1; COCO.
        of: Which of them.

    Raises:
        SourceError: There is no such file, or it is not in this format.
        ConfigError: The format is unknown.
    """
    if of not in _READERS:
        raise ConfigError(f"format {of!r}: expected one of {', '.join(get_args(CorrectionFormat))}")
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    try:
        return list(_READERS[of](path))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, ElementTree.ParseError) as error:
        raise SourceError(f"{path}: not a {of} export: {type(error).__name__}: {error}") from None


def judged(corrections: Iterable[Correction], annotations: Mapping[str, Annotation]) -> Iterator[TagJudgement]:
    """What the corrections say about the tags of their pictures.

    A confirmed tag was right. Where a person names another entity, a sure tag was wrong and theirs is missing. A file
    without an annotation says nothing. Of a picture with regions, each box is judged by itself.
    """
    for one in corrections:
        annotation = annotations.get(one.file)
        if annotation is None or annotation.problem:
            continue
        if annotation.regions is not None and one.places is not None:
            yield from _judged_regions(one, annotation)
            continue
        sure = annotation.sure
        if sure is not None and sure.entity == one.entity:
            if one.confirmed:
                yield TagJudgement(one.file, annotation.release, "right", sure.entity_id, sure.entity, one.person)
            continue
        if sure is not None:
            yield TagJudgement(one.file, annotation.release, "wrong", sure.entity_id, sure.entity, one.person)
        if one.entity:
            key = next((tag.entity_id for tag in annotation.tags if tag.entity == one.entity), "")
            yield TagJudgement(one.file, annotation.release, "missing", key, one.entity, one.person)


def part_of(data: bytes, box: Box | None) -> bytes:
    """The picture in ``data``, or the part in ``box`` as a PNG.

    Raises:
        ImageError: The picture cannot be used, or nothing of it is in the box.
    """
    if box is None:
        return data
    with opened(data) as picture:
        inside = Box(max(0, box.left), max(0, box.top), min(picture.width, box.right), min(picture.height, box.bottom))
        if min(inside.right - inside.left, inside.bottom - inside.top) < MIN_SIDE:
            raise ImageError(f"the box {tuple(box)} holds too little of {picture.width} x {picture.height} pixels")
        stream = io.BytesIO()
        picture.crop(inside).save(stream, "PNG")
    return stream.getvalue()


def _judged_regions(one: Correction, annotation: Annotation) -> Iterator[TagJudgement]:
    """A region that a person kept was right, one that is gone or was renamed is wrong, and a new box is missing."""
    known = {tag.entity: tag.entity_id for tag in annotation.tags}
    known |= {region.entity: region.entity_id for region in annotation.found}
    drawn = list(one.places or ())
    for region in annotation.found:
        box = box_of(region)
        kept = _taken(region.entity, box, drawn)
        if one.confirmed or not kept:
            verdict: Literal["right", "wrong"] = "right" if kept else "wrong"
            about = (region.entity_id, region.entity, one.person, box)
            yield TagJudgement(one.file, annotation.release, verdict, *about)
    for entity, box in drawn:
        yield TagJudgement(one.file, annotation.release, "missing", known.get(entity, ""), entity, one.person, box)


def _taken(entity: str, box: Box, drawn: list[tuple[str, Box]]) -> bool:
    """Take the box of this entity that is at the same place out of ``drawn``; whether there was one."""
    same = [place for place in drawn if place[0] == entity and overlap(place[1], box) >= SAME]
    if same:
        drawn.remove(max(same, key=lambda place: overlap(place[1], box)))
    return bool(same)


# ---------------------------------------------------------------- formats
def _csv(path: Path) -> Iterator[Correction]:
    table = open_table(path)
    for column in ("file", "entity"):
        table.require_column(column)
    for row in table.rows():
        if isinstance(row, Rejection):
            raise SourceError(f"{path}, row {row.row}: {row.reason}")
        number, cells = row
        if not cells.get("file"):
            raise SourceError(f"{path}, row {number}: no file")
        entity = next(iter(cells.get("entity", ())), "")
        yield Correction(unguarded(cells["file"][0]), unguarded(entity))


def _label_studio(path: Path) -> Iterator[Correction]:
    for task in json.loads(path.read_text(encoding="utf-8")):
        for annotation in task.get("annotations", []):
            if annotation.get("was_cancelled"):
                continue
            chosen = [r["value"]["choices"][0] for r in annotation["result"] if r["from_name"] == CHOICE]
            places = tuple(_rectangle(r) for r in annotation["result"] if r["from_name"] == BOX)
            person = _person(annotation.get("completed_by", ""))
            entity = chosen[0] if chosen else ""
            yield Correction(task["data"]["file"], entity, places=places, confirmed=True, person=person)


def _rectangle(result: dict[str, Any]) -> tuple[str, Box]:
    """A box of Label Studio, which is in percent of the picture."""
    value, across, down = result["value"], result["original_width"] / 100, result["original_height"] / 100
    corner = value["x"] * across, value["y"] * down
    return value["rectanglelabels"][0], _box(*corner, value["width"] * across, value["height"] * down)


def _box(left: float, top: float, width: float, height: float) -> Box:
    return Box(*(round(value) for value in (left, top, left + width, top + height)))


def _person(completed_by: Any) -> str:
    """Label Studio names an e-mail address or a number."""
    return str(completed_by.get("email", "") if isinstance(completed_by, dict) else completed_by)


def _cvat(path: Path) -> Iterator[Correction]:
    for image in ElementTree.parse(path).getroot().iter("image"):
        tag = image.find("tag")
        drawn = [box for box in image.findall("box") if box.attrib["label"] != PRINTED]
        entity = "" if tag is None else tag.attrib["label"]
        manual = any(shape.get("source") == "manual" for shape in (*drawn, *([] if tag is None else [tag])))
        corners = ("xtl", "ytl", "xbr", "ybr")
        places = tuple(
            (box.attrib["label"], Box(*(round(float(box.attrib[corner])) for corner in corners))) for box in drawn
        )
        yield Correction(image.attrib["name"], entity, places=places, confirmed=manual)


def _coco(path: Path) -> Iterator[Correction]:
    dataset = json.loads(path.read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in dataset["categories"]}
    found: dict[int, list[tuple[str, Box]]] = {}
    for annotation in dataset["annotations"]:
        place = names[annotation["category_id"]], _box(*annotation["bbox"])
        found.setdefault(annotation["image_id"], []).append(place)
    for image in dataset["images"]:
        places = tuple(found.get(image["id"], ()))
        yield Correction(image["file_name"], places[-1][0] if places else "", places=places)


_READERS: dict[CorrectionFormat, Callable[[Path], Iterator[Correction]]] = {
    "csv": _csv,
    "label-studio": _label_studio,
    "cvat": _cvat,
    "coco": _coco,
}
