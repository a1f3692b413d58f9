"""What people corrected in a tool comes back as judgements of the tags."""

import json
from pathlib import Path

import pytest
from test_export import ANNOTATIONS, HOSTILE

from entityclip.annotation import export
from entityclip.annotation.corrections import Correction, TagJudgement, judged, read_corrections
from entityclip.errors import ConfigError, SourceError
from entityclip.paths import AnnotationLayout

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
