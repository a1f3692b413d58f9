"""What people corrected in a tool comes back as judgements of the tags."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from test_export import ANNOTATIONS, HOSTILE, region

from entityclip.annotation import export
from entityclip.annotation.corrections import Correction, TagJudgement, judged, part_of, read_corrections
from entityclip.annotation.regions import Box
from entityclip.data.images import decode
from entityclip.errors import ConfigError, ImageError, SourceError
from entityclip.paths import AnnotationLayout
from entityclip.schemas import Annotation

KNOWN = {one.file: one for one in ANNOTATIONS}
FIRST, SECOND, THIRD = (one.file for one in ANNOTATIONS[:3])


@pytest.fixture
def layout(tmp_path: Path) -> AnnotationLayout:
    return AnnotationLayout(tmp_path)


def test_an_unchanged_table_says_nothing(layout):
    export(ANNOTATIONS, layout, to="csv")
    assert list(judged(read_corrections(layout.csv, of="csv"), KNOWN)) == []


def test_a_changed_table_in_shift_jis_says_what_was_wrong_and_what_is_missing(layout):
    export(ANNOTATIONS, layout, to="csv")
    text = layout.csv.read_text(encoding="utf-8-sig").replace("赤 1.png,やかん,id-やかん", "赤 1.png,KX-2,")
    text = text.replace("c/2.jpg,,", "c/2.jpg,鍋,")
    layout.csv.write_bytes(text.encode("cp932"))
    assert list(judged(read_corrections(layout.csv, of="csv"), KNOWN)) == [
        TagJudgement(FIRST, "v1", "wrong", "id-やかん", "やかん", ""),
        TagJudgement(FIRST, "v1", "missing", "id-KX-2", "KX-2", ""),
        TagJudgement(SECOND, "v1", "missing", "", "鍋", ""),
    ]


def test_label_studio_confirms_refuses_and_names_the_person(layout):
    export(ANNOTATIONS, layout, to="label-studio")
    tasks = json.loads(layout.label_studio.read_text(encoding="utf-8"))
    tasks[0]["annotations"] = [{"completed_by": {"email": "a@b"}, "result": tasks[0]["predictions"][0]["result"]}]
    tasks[1]["annotations"] = [{"was_cancelled": True, "result": []}]
    tasks[2]["annotations"] = [{"completed_by": 7, "result": []}]
    layout.label_studio.write_text(json.dumps(tasks), encoding="utf-8")
    assert list(judged(read_corrections(layout.label_studio, of="label-studio"), KNOWN)) == [
        TagJudgement(FIRST, "v1", "right", "id-やかん", "やかん", "a@b"),
        TagJudgement(THIRD, "v1", "wrong", f"id-{HOSTILE}", HOSTILE, "7"),
    ]


def test_cvat_and_coco_are_read_back(layout):
    for name, path in (("cvat", layout.cvat), ("coco", layout.coco)):
        export(ANNOTATIONS, layout, to=name)
        found = read_corrections(path, of=name)
        assert [one.entity for one in found] == ["やかん", "", HOSTILE]
        assert list(judged(found[:2], KNOWN)) == []  # unchanged
    manual = layout.cvat.read_text(encoding="utf-8").replace('source="auto"', 'source="manual"')
    layout.cvat.write_text(manual, encoding="utf-8")
    assert [one.verdict for one in judged(read_corrections(layout.cvat, of="cvat"), KNOWN)] == ["right"]


def test_boxes_that_people_moved_renamed_deleted_and_drew_are_judged_one_by_one(layout):
    kettle, lamp = region("やかん", 0, 0), region("灯", 60, 0)
    shelf = Annotation(file="棚.png", width=100, height=80, release="v1", regions=(kettle, lamp))
    known = {shelf.file: shelf}
    for name, path in (("coco", layout.coco), ("cvat", layout.cvat), ("label-studio", layout.label_studio)):
        export([shelf], layout, to=name)
        if name == "label-studio":
            tasks = json.loads(path.read_text(encoding="utf-8"))
            tasks[0]["annotations"] = [{"result": tasks[0]["predictions"][0]["result"]}]
            path.write_text(json.dumps(tasks), encoding="utf-8")
        untouched = list(judged(read_corrections(path, of=name), known))
        assert [one.verdict for one in untouched] == (["right", "right"] if name == "label-studio" else [])
    dataset = json.loads(layout.coco.read_text(encoding="utf-8"))
    moved, renamed = dataset["annotations"]
    moved["bbox"] = [2, 1, 40, 41]
    renamed["category_id"] = moved["category_id"]
    layout.coco.write_text(json.dumps(dataset), encoding="utf-8")
    wrong, missing = judged(read_corrections(layout.coco, of="coco"), known)
    assert (wrong.verdict, wrong.entity, wrong.box) == ("wrong", "灯", Box(60, 0, 100, 40))
    assert (missing.verdict, missing.entity_id, missing.box) == ("missing", "id-やかん", Box(60, 0, 100, 40))


def test_the_part_in_a_box_is_its_picture():
    picture = Image.new("RGB", (100, 80), "white")
    picture.paste("red", (60, 0, 100, 40))
    picture.save(stream := io.BytesIO(), "PNG")
    part = decode(part_of(stream.getvalue(), Box(60, 0, 130, 40)))
    assert (part.size, part.getpixel((0, 0))) == ((40, 40), (255, 0, 0))
    assert part_of(stream.getvalue(), None) == stream.getvalue()
    with pytest.raises(ImageError, match="holds too little"):
        part_of(stream.getvalue(), Box(98, 0, 130, 40))


def test_a_file_that_was_not_annotated_says_nothing():
    assert list(judged([Correction("other.png", "KX-2"), Correction("e.txt", "KX-2")], KNOWN)) == []


@pytest.mark.parametrize("of", ["csv", "label-studio", "cvat", "coco"])
@pytest.mark.parametrize("content", ["", "[1]", "<a>", '{"images": 3}', "file\n"])
def test_another_file_is_refused(layout, of, content):
    path = layout.root / "export.csv"
    path.write_text(content)
    with pytest.raises(SourceError, match=r"export\.csv"):
        read_corrections(path, of=of)


def test_what_is_missing_or_unknown_is_named(layout):
    with pytest.raises(SourceError, match="no such file"):
        read_corrections(layout.csv, of="csv")
    with pytest.raises(ConfigError, match="format 'yolo'"):
        read_corrections(layout.csv, of="yolo")
