"""Annotations as files of the tools that people work in. Each is written whole or not at all.

Formats with categories get what was found for sure: regions, or the sure tag of the whole picture, whose box is the
picture. A picture of something unknown has none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal
from urllib.parse import quote
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq

from entityclip.errors import ConfigError
from entityclip.paths import AnnotationLayout
from entityclip.schemas import Annotation, Label, Region, Tag
from entityclip.storage import atomic_path, atomic_write, csv_file

Format = Literal["csv", "jsonl", "coco", "label-studio", "cvat", "yolo", "datasets"]
Writer = Callable[[Sequence[Annotation], AnnotationLayout], None]

CHOICE, BOX, LINE, TEXT, PICTURE = "entity", "place", "line", "text", "picture"
"""Names of the controls and the object in Label Studio's interface."""

PRINTED = "(printed text)"
"""Label of a line of text in CVAT, beside the names of entities."""

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that a file name may hold and an XML file may not."""


def export(annotations: Sequence[Annotation], layout: AnnotationLayout, *, to: Format) -> None:
    """Write all ``annotations`` in one format.

    Raises:
        ConfigError: YOLO's labels of two pictures would be one file.
        OSError: The folder cannot be written.
    """
    FORMATS[to](annotations, layout)


def _csv(annotations: Sequence[Annotation], layout: AnnotationLayout) -> None:
    most = max((len(annotation.tags) for annotation in annotations), default=0)
    others = [f"{column}_{n}" for n in range(1, most + 1) for column in ("tag", "confidence")]
    header = ("file", "entity", "entity_id", "unknown", "labels", "explanation", *others, "release", "problem")
    with csv_file(layout.csv, header, encoding="utf-8-sig") as writer:
        for one in annotations:
            name, key = (one.sure.entity, one.sure.entity_id) if one.sure else ("", "")
            cells = [cell for tag in one.tags for cell in (tag.entity, round(tag.confidence, 4))]
            cells += [""] * (2 * most - len(cells))
            unknown, text = "yes" if one.unknown else "no", " / ".join(label.text for label in one.labels)
            writer.write([one.file, name, key, unknown, text, one.explanation, *cells, one.release, one.problem])


def _jsonl(annotations: Sequence[Annotation], layout: AnnotationLayout) -> None:
    lines = (json.dumps(_object(one), ensure_ascii=False) + "\n" for one in annotations)
    atomic_write(layout.jsonl, "".join(lines))


def _object(one: Annotation) -> dict[str, Any]:
    return one.model_dump(mode="json") | {"unknown": one.unknown}


def _coco(annotations: Sequence[Annotation], layout: AnnotationLayout) -> None:
    number = {entity_id: n for n, entity_id in enumerate(_categories(annotations), start=1)}
    images: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for n, one in enumerate(_usable(annotations), start=1):
        image = {"id": n, "file_name": one.file, "width": one.width, "height": one.height}
        lines = [{"text": label.text, "score": label.confidence, "bbox": _bbox(label, one)} for label in one.labels]
        images.append(image | ({"labels": lines} if lines else {}))
        found += [
            {
                "id": len(found) + place,
                "image_id": n,
                "category_id": number[region.entity_id],
                "bbox": [region.left, region.top, region.width, region.height],
                "area": region.width * region.height,
                "iscrowd": 0,
                "segmentation": [],
                "score": round(region.confidence, 4),
            }
            for place, region in enumerate(one.found, start=1)
        ]
    categories = [
        {"id": number[entity_id], "name": name, "entity_id": entity_id}
        for entity_id, name in _categories(annotations).items()
    ]
    dataset = {"info": {}, "licenses": [], "images": images, "annotations": found, "categories": categories}
    atomic_write(layout.coco, json.dumps(dataset, ensure_ascii=False) + "\n")


def _label_studio(annotations: Sequence[Annotation], layout: AnnotationLayout) -> None:
    tasks = []
    for one in _usable(annotations):
        result = [
            {
                "from_name": CHOICE,
                "to_name": PICTURE,
                "type": "choices",
                "score": round(tag.confidence, 4),
                "value": {"choices": [tag.entity]},
            }
            for tag in _sure(one)
        ]
        result += [_rectangle(region, one) for region in one.regions or ()]
        result += [part for n, label in enumerate(one.labels, start=1) for part in _line(label, one, name=f"line-{n}")]
        score = round(one.sure.confidence, 4) if one.sure else 0.0
        data = {PICTURE: f"/data/local-files/?d={quote(one.file)}", "file": one.file, "explanation": one.explanation}
        tasks.append({"data": data, "predictions": [{"model_version": one.release, "score": score, "result": result}]})
    atomic_write(layout.label_studio, json.dumps(tasks, ensure_ascii=False) + "\n")
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name=PICTURE, value=f"${PICTURE}")
    ElementTree.SubElement(view, "Filter", toName=CHOICE, name="filter")
    choices = ElementTree.SubElement(view, "Choices", name=CHOICE, toName=PICTURE, choice="single")
    for name in _names(annotations):
        ElementTree.SubElement(choices, "Choice", value=name)
    if any(one.regions is not None for one in annotations):
        boxes = ElementTree.SubElement(view, "RectangleLabels", name=BOX, toName=PICTURE)
        for name in _names(annotations):
            ElementTree.SubElement(boxes, "Label", value=name)
    if any(one.labels for one in annotations):
        ElementTree.SubElement(view, "Rectangle", name=LINE, toName=PICTURE, strokeWidth="2")
        text = {"name": TEXT, "toName": PICTURE, "editable": "true", "perRegion": "true", "displayMode": "region-list"}
        ElementTree.SubElement(view, "TextArea", text)
    ElementTree.indent(view)
    atomic_write(layout.label_studio_config, ElementTree.tostring(view, encoding="unicode") + "\n")


def _line(label: Label, one: Annotation, *, name: str) -> list[dict[str, Any]]:
    """A line of text: its box, and the text that belongs to the box."""
    left, top, right, bottom = (100 * share for share in label.box)
    place = {"x": left, "y": top, "width": right - left, "height": bottom - top, "rotation": 0}
    common = {"id": name, "to_name": PICTURE, "original_width": one.width, "original_height": one.height}
    common |= {"score": round(label.confidence, 4)}
    text = place | {"text": [label.text]}
    return [
        common | {"from_name": LINE, "type": "rectangle", "value": place},
        common | {"from_name": TEXT, "type": "textarea", "value": text},
    ]


def _bbox(label: Label, one: Annotation) -> list[float]:
    """Left, top, width and height in pixels."""
    left, top, right, bottom = label.box
    shares = (left, one.width), (top, one.height), (right - left, one.width), (bottom - top, one.height)
    return [round(share * side, 1) for share, side in shares]


def _rectangle(region: Region, one: Annotation) -> dict[str, Any]:
    """In percent of the picture, as Label Studio wants it."""
    across, down = 100 / one.width, 100 / one.height
    value: dict[str, Any] = {"x": region.left * across, "y": region.top * down, "width": region.width * across}
    value |= {"height": region.height * down, "rotation": 0, "rectanglelabels": [region.entity]}
    named = {"from_name": BOX, "to_name": PICTURE, "type": "rectanglelabels"}
    size = {"original_width": one.width, "original_height": one.height}
    return named | size | {"score": round(region.confidence, 4), "value": value}


def _cvat(annotations: Sequence[Annotation], layout: AnnotationLayout) -> None:
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels")
    for name in _names(annotations):
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "type").text = "any"
        ElementTree.SubElement(label, "attributes")
    if any(one.labels for one in annotations):
        _cvat_text(labels)
    for n, one in enumerate(_usable(annotations)):
        attributes = {"id": str(n), "name": _NOT_XML.sub("\ufffd", one.file)}
        attributes |= {"width": str(one.width), "height": str(one.height)}
        image = ElementTree.SubElement(root, "image", attributes)
        for tag in _sure(one):
            ElementTree.SubElement(image, "tag", label=tag.entity, source="auto")
        for region in one.regions or ():
            corners = {"xtl": region.left, "ytl": region.top}
            corners |= {"xbr": region.left + region.width, "ybr": region.top + region.height}
            about = {"label": region.entity, "source": "auto", "occluded": "0"}
            ElementTree.SubElement(image, "box", about | {name: f"{value:.2f}" for name, value in corners.items()})
        for line in one.labels:
            left, top, width, height = _bbox(line, one)
            shares = {"xtl": left, "ytl": top, "xbr": left + width, "ybr": top + height}
            about = {"label": PRINTED, "source": "auto", "occluded": "0"}
            box = ElementTree.SubElement(image, "box", about | {key: f"{value:.2f}" for key, value in shares.items()})
            ElementTree.SubElement(box, "attribute", name="text").text = _NOT_XML.sub("\ufffd", line.text)
    ElementTree.indent(root)
    atomic_write(layout.cvat, ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n")


def _cvat_text(labels: ElementTree.Element) -> None:
    """The label of lines of text, with the text as an attribute."""
    label = ElementTree.SubElement(labels, "label")
    ElementTree.SubElement(label, "name").text = PRINTED
    ElementTree.SubElement(label, "type").text = "rectangle"
    attribute = ElementTree.SubElement(ElementTree.SubElement(label, "attributes"), "attribute")
    parts = {"name": "text", "mutable": "False", "input_type": "text", "default_value": "", "values": ""}
    for name, value in parts.items():
        ElementTree.SubElement(attribute, name).text = value


def _yolo(annotations: Sequence[Annotation], layout: AnnotationLayout) -> None:
    number = {entity_id: n for n, entity_id in enumerate(_categories(annotations))}
    with atomic_path(layout.yolo) as folder:
        labels = folder / "labels"
        for one in _usable(annotations):
            path = (labels / one.file).with_suffix(".txt")
            if path.exists():
                raise ConfigError(f"yolo: {one.file} and a picture of another suffix have one label file; rename one")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{number[region.entity_id]} {_centred(region, one)}\n" for region in one.found))
        names = _categories(annotations).values()
        lines = [f"  {n}: {json.dumps(name, ensure_ascii=False)}\n" for n, name in enumerate(names)]
        (folder / "data.yaml").write_text("path: .\ntrain: images\nval: images\nnames:\n" + "".join(lines))


def _centred(region: Region, one: Annotation) -> str:
    """Middle and size as shares of the picture."""
    middle = (region.left + region.width / 2) / one.width, (region.top + region.height / 2) / one.height
    size = region.width / one.width, region.height / one.height
    return " ".join(f"{value:.6g}" for value in (*middle, *size))


def _datasets(annotations: Sequence[Annotation], layout: AnnotationLayout) -> None:
    columns = {
        "file": [one.file for one in annotations],
        "entity": [one.sure.entity if one.sure else None for one in annotations],
        "entity_id": [one.sure.entity_id if one.sure else None for one in annotations],
        "confidence": [one.tags[0].confidence if one.tags else None for one in annotations],
        "unknown": [one.unknown for one in annotations],
        "labels": [[label.model_dump(exclude={"picture"}) for label in one.labels] for one in annotations],
        "explanation": [one.explanation for one in annotations],
        "tags": [[tag.entity for tag in one.tags] for one in annotations],
        "regions": [[region.model_dump(mode="json") for region in one.found] for one in annotations],
        "release": [one.release for one in annotations],
        "problem": [one.problem for one in annotations],
    }
    region = pa.struct(
        [("entity_id", pa.string()), ("entity", pa.string()), ("confidence", pa.float64())]
        + [(name, pa.int32()) for name in ("left", "top", "width", "height")]
    )
    label = pa.struct([("text", pa.string()), ("confidence", pa.float64()), ("box", pa.list_(pa.float64()))])
    schema = pa.schema(
        [(name, pa.string()) for name in ("file", "entity", "entity_id")]
        + [("confidence", pa.float64()), ("unknown", pa.bool_()), ("labels", pa.list_(label))]
        + [("explanation", pa.string())]
        + [("tags", pa.list_(pa.string())), ("regions", pa.list_(region)), ("release", pa.string())]
        + [("problem", pa.string())]
    )
    with atomic_path(layout.parquet) as temporary:
        pq.write_table(pa.table(columns, schema=schema), temporary)


FORMATS: dict[Format, Writer] = {
    "csv": _csv,
    "jsonl": _jsonl,
    "coco": _coco,
    "label-studio": _label_studio,
    "cvat": _cvat,
    "yolo": _yolo,
    "datasets": _datasets,
}
"""Format -> what writes it."""


def _usable(annotations: Sequence[Annotation]) -> list[Annotation]:
    return [one for one in annotations if not one.problem]


def _sure(one: Annotation) -> list[Tag]:
    return [one.sure] if one.sure else []


def _categories(annotations: Sequence[Annotation]) -> dict[str, str]:
    """entity_id -> name of each entity that was found, by name."""
    found = {region.entity_id: region.entity for one in annotations for region in one.found}
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))


def _names(annotations: Sequence[Annotation]) -> list[str]:
    """Names of everything that was tagged: what a person may correct a tag to."""
    tags = {tag.entity for one in annotations for tag in one.tags}
    return sorted(tags | {region.entity for one in annotations for region in one.found})
