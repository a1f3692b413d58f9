"""Exports load in the readers of the tools that they are for."""

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest

from entityclip.annotation import FORMATS, export
from entityclip.annotation.corrections import judged, read_corrections
from entityclip.errors import ConfigError
from entityclip.paths import AnnotationLayout
from entityclip.schemas import Annotation, Label, Region, Tag


def tag(entity: str, confidence: float, *, sure: bool = True) -> Tag:
    return Tag(entity_id=f"id-{entity}", entity=entity, score=confidence, confidence=confidence, above_threshold=sure)


def region(entity: str, left: int, top: int, side: int = 40) -> Region:
    return Region(entity_id=f"id-{entity}", entity=entity, confidence=0.9, left=left, top=top, width=side, height=side)


HOSTILE = '=HYPERLINK("x")<script>&"\\'
ANNOTATIONS = [
    Annotation(
        file="b/赤 1.png", width=40, height=36, release="v1", tags=(tag("やかん", 0.9), tag("KX-2", 0.1, sure=False))
    ),
    Annotation(file="c/2.jpg", width=30, height=20, release="v1", tags=(tag("KX-2", 0.2, sure=False),)),
    Annotation(file="d/\x01.png", width=8, height=8, release="v1", tags=(tag(HOSTILE, 0.7),), explanation="a\nb"),
    Annotation(file="e.txt", release="v1", problem="not a picture"),
]


@pytest.fixture
def layout(tmp_path: Path) -> AnnotationLayout:
    layout = AnnotationLayout(tmp_path)
    for name in FORMATS:
        export(ANNOTATIONS, layout, to=name)
    return layout


def test_csv_has_a_row_for_each_file_and_no_formula(layout):
    with layout.csv.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == [one.file for one in ANNOTATIONS]
    assert [row["entity"] for row in rows] == ["やかん", "", "'" + HOSTILE, ""]
    assert [row["unknown"] for row in rows] == ["no", "yes", "no", "no"]
    assert (rows[0]["tag_2"], rows[0]["confidence_2"]) == ("KX-2", "0.1")
    assert rows[3]["problem"] == "not a picture"


def test_jsonl_gives_the_annotations_back(layout):
    lines = [json.loads(line) for line in layout.jsonl.read_text(encoding="utf-8").splitlines()]
    assert [line.pop("unknown") for line in lines] == [False, True, False, False]
    assert [Annotation.model_validate(line) for line in lines] == ANNOTATIONS


def test_coco_loads_in_pycocotools(layout, capsys):
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed").COCO(str(layout.coco))
    assert len(coco.imgs) == 3
    assert {category["name"] for category in coco.cats.values()} == {"やかん", HOSTILE}
    (first,) = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert first["bbox"] == [0, 0, 40, 36]
    assert coco.cats[first["category_id"]]["name"] == "やかん"
    assert coco.getAnnIds(imgIds=[2]) == []
    assert coco.loadRes(coco.loadAnns(coco.getAnnIds())).anns[1]["score"] == 0.9


def test_parquet_loads_in_datasets(layout):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    rows = datasets.load_dataset("parquet", data_files=str(layout.parquet), split="train", cache_dir=str(layout.root))
    assert rows["entity"][:4] == ["やかん", None, HOSTILE, None]
    assert rows["tags"][0] == ["やかん", "KX-2"]


def test_label_studio_tasks_fit_their_interface(layout):
    tasks = json.loads(layout.label_studio.read_text(encoding="utf-8"))
    view = ElementTree.parse(layout.label_studio_config).getroot()
    choices = [choice.attrib["value"] for choice in view.iter("Choice")]
    assert choices == sorted(["やかん", "KX-2", HOSTILE])
    assert tasks[0]["data"]["picture"] == "/data/local-files/?d=b/%E8%B5%A4%201.png"
    assert tasks[0]["predictions"][0]["result"][0]["value"]["choices"] == ["やかん"]
    assert tasks[1]["predictions"][0]["result"] == []
    assert {task["data"]["file"] for task in tasks} == {one.file for one in ANNOTATIONS if not one.problem}


def test_cvat_is_xml_with_the_tags(layout):
    root = ElementTree.parse(layout.cvat).getroot()
    found = {image.attrib["name"]: [t.attrib["label"] for t in image.iter("tag")] for image in root.iter("image")}
    assert found == {"b/赤 1.png": ["やかん"], "c/2.jpg": [], "d/\ufffd.png": [HOSTILE]}
    labels = [label.findtext("name") for label in root.iter("label")]
    assert labels == sorted(["やかん", "KX-2", HOSTILE])


def test_yolo_has_a_label_file_for_each_picture(layout):
    labels = layout.yolo / "labels"
    names = json.loads((layout.yolo / "data.yaml").read_text(encoding="utf-8").splitlines()[-1].partition(":")[2])
    assert names == "やかん"
    assert (labels / "b" / "赤 1.txt").read_text() == "1 0.5 0.5 1 1\n"
    assert (labels / "c" / "2.txt").read_text() == ""
    twice = [ANNOTATIONS[0], ANNOTATIONS[0].model_copy(update={"file": "b/赤 1.jpg"})]
    before = sorted(path.read_text() for path in labels.rglob("*.txt"))
    with pytest.raises(ConfigError, match=r"b/赤 1\.jpg and a picture of another suffix"):
        export(twice, layout, to="yolo")
    assert sorted(path.read_text() for path in labels.rglob("*.txt")) == before


def test_lines_of_text_stand_with_their_boxes_in_every_format_that_has_texts(tmp_path):
    layout = AnnotationLayout(tmp_path)
    lines = (
        Label(text="KX-204B", confidence=0.98, box=(0.25, 0.5, 0.75, 0.75)),
        Label(text="電気 & <ポット>", confidence=0.9, box=(0, 0, 1, 0.1)),
    )
    card = Annotation(
        file="箱.png", width=200, height=80, release="v1", tags=(tag("やかん", 0.9),), labels=lines, reading="read"
    )
    for name in FORMATS:
        export([card], layout, to=name)
    with layout.csv.open(encoding="utf-8-sig", newline="") as stream:
        assert next(csv.DictReader(stream))["labels"] == "KX-204B / 電気 & <ポット>"
    (image,) = json.loads(layout.coco.read_text(encoding="utf-8"))["images"]
    assert image["labels"][0] == {"text": "KX-204B", "score": 0.98, "bbox": [50, 40, 100, 20]}
    (task,) = json.loads(layout.label_studio.read_text(encoding="utf-8"))
    place, text = (part for part in task["predictions"][0]["result"] if part.get("id") == "line-1")
    assert (place["type"], place["value"]["x"], place["value"]["height"]) == ("rectangle", 25, 25)
    assert (text["type"], text["value"]["text"], text["value"]["width"]) == ("textarea", ["KX-204B"], 50)
    view = ElementTree.parse(layout.label_studio_config).getroot()
    assert {view.find("Rectangle").get("name"), view.find("TextArea").get("name")} == {
        place["from_name"],
        text["from_name"],
    }
    root = ElementTree.parse(layout.cvat).getroot()
    boxes = [(box.get("xtl"), box.get("ybr"), box.findtext("attribute")) for box in root.iter("box")]
    assert boxes == [("50.00", "60.00", "KX-204B"), ("0.00", "8.00", "電気 & <ポット>")]
    assert root.findtext("meta/task/labels/label[2]/attributes/attribute/name") == "text"
    (row,) = pq.read_table(layout.parquet).to_pylist()
    assert row["labels"][0] == {"text": "KX-204B", "confidence": 0.98, "box": [0.25, 0.5, 0.75, 0.75]}


@pytest.mark.parametrize("of", ["csv", "coco", "cvat"])
def test_lines_of_text_are_no_corrections(tmp_path, of):
    layout = AnnotationLayout(tmp_path)
    line = Label(text="KX-204B", confidence=0.98, box=(0.25, 0.5, 0.75, 0.75))
    found = (region("やかん", 0, 0),)
    card = Annotation(file="箱.png", width=200, height=80, release="v1", regions=found, labels=(line,), reading="read")
    export([card], layout, to=of)
    path = {"csv": layout.csv, "coco": layout.coco, "cvat": layout.cvat}[of]
    assert list(judged(read_corrections(path, of=of), {card.file: card})) == []


def test_regions_are_boxes_in_every_format_that_has_boxes(tmp_path):
    layout = AnnotationLayout(tmp_path)
    shelf = Annotation(file="棚.png", width=100, height=80, release="v1", regions=(region("やかん", 60, 0),))
    empty = Annotation(file="壁.png", width=100, height=80, release="v1", tags=(tag("KX-2", 0.9),), regions=())
    assert (shelf.unknown, empty.unknown) == (False, True)
    for name in FORMATS:
        export([shelf, empty], layout, to=name)
    (found,) = json.loads(layout.coco.read_text(encoding="utf-8"))["annotations"]
    assert (found["image_id"], found["bbox"], found["area"]) == (1, [60, 0, 40, 40], 1600)
    assert (layout.yolo / "labels" / "棚.txt").read_text() == "0 0.8 0.25 0.4 0.5\n"
    assert (layout.yolo / "labels" / "壁.txt").read_text() == ""
    box = ElementTree.parse(layout.cvat).getroot().find("image/box")
    assert [box.get(corner) for corner in ("label", "xtl", "ytl", "xbr", "ybr")] == [
        "やかん",
        "60.00",
        "0.00",
        "100.00",
        "40.00",
    ]
    (rectangle,) = json.loads(layout.label_studio.read_text(encoding="utf-8"))[0]["predictions"][0]["result"]
    assert {name: rectangle["value"][name] for name in ("x", "y", "width", "height")} == {
        "x": 60,
        "y": 0,
        "width": 40,
        "height": 50,
    }
    assert "RectangleLabels" in layout.label_studio_config.read_text(encoding="utf-8")
    rows = pq.read_table(layout.parquet).to_pylist()
    assert [[one["entity"] for one in row["regions"]] for row in rows] == [["やかん"], []]
