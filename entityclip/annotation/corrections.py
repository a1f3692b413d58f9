"""What people corrected in an annotation tool, and what that says about the tags."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from xml.etree import ElementTree

from entityclip.annotation.export import CHOICE
from entityclip.data.sources.table_files import open_table
from entityclip.errors import ConfigError, SourceError
from entityclip.schemas import Annotation, Rejection
from entityclip.storage.csv_files import unguarded

CorrectionFormat = Literal["csv", "label-studio", "cvat", "coco"]


@dataclass(frozen=True)
class Correction:
    """What a person says that one picture shows."""

    file: str
    entity: str
    """Name; '' for nothing that is in the catalogue."""
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
    without an annotation says nothing.
    """
    for one in corrections:
        annotation = annotations.get(one.file)
        if annotation is None or annotation.problem:
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
            person = _person(annotation.get("completed_by", ""))
            yield Correction(task["data"]["file"], chosen[0] if chosen else "", confirmed=True, person=person)


def _person(completed_by: Any) -> str:
    """Label Studio names an e-mail address or a number."""
    return str(completed_by.get("email", "") if isinstance(completed_by, dict) else completed_by)


def _cvat(path: Path) -> Iterator[Correction]:
    for image in ElementTree.parse(path).getroot().iter("image"):
        tag = image.find("tag")
        name = image.attrib["name"]
        if tag is None:
            yield Correction(name, "")
        else:
            yield Correction(name, tag.attrib["label"], confirmed=tag.get("source") == "manual")


def _coco(path: Path) -> Iterator[Correction]:
    dataset = json.loads(path.read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in dataset["categories"]}
    found = {annotation["image_id"]: names[annotation["category_id"]] for annotation in dataset["annotations"]}
    for image in dataset["images"]:
        yield Correction(image["file_name"], found.get(image["id"], ""))


_READERS: dict[CorrectionFormat, Callable[[Path], Iterator[Correction]]] = {
    "csv": _csv,
    "label-studio": _label_studio,
    "cvat": _cvat,
    "coco": _coco,
}
