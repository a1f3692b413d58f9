from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from entityclip.data.pairs import NEAR_DUPLICATES, PAIRS, write_rows
from entityclip.data.split_groups import ALIKE, GROUPED
from entityclip.paths import DataLayout
from entityclip.reports.near_duplicates import SHOWN, near_duplicates_text, similar_pairs
from entityclip.schemas import EvalReport, Metric


def picture(name: str, entity: str, split: str) -> dict[str, Any]:
    about = {"pair_id": name, "image_sha256": name, "entity_id": entity, "entity": entity.upper(), "split": split}
    return about | {"image": {"bytes": name.encode(), "path": f"{name}.jpg"}}


@pytest.fixture
def data(tmp_path: Path) -> DataLayout:
    layout = DataLayout(tmp_path)
    train = [picture("a", "x", "train"), *(picture(f"t{n}", "x", "train") for n in range(SHOWN + 2))]
    write_rows(layout.pairs, PAIRS, train, name="train")
    write_rows(layout.pairs, PAIRS, [picture("b", "x", "test"), picture("c", "y", "test")], name="test")
    pairs = [("a", "b", ALIKE), ("a", "c", ALIKE), ("b", "c", GROUPED)]
    pairs += [("a", f"t{n}", ALIKE) for n in range(SHOWN + 2)]
    rows = [{"image_sha256": one, "near_sha256": other, "kind": kind} for one, other, kind in pairs]
    write_rows(layout.near_duplicates, NEAR_DUPLICATES, rows, name="near_duplicates")
    return layout


def test_pairs_are_shown_side_by_side_by_concern(data: DataLayout) -> None:
    apart, listed_twice, together = similar_pairs(data)
    assert [(p.concern, p.count) for p in (apart, listed_twice, together)] == [
        ("in two splits", 1),
        ("of two entities", 1),
        ("in one split", SHOWN + 3),
    ]
    assert len(together.shown) == SHOWN
    assert apart.shown[0].model_dump() == {
        "pictures": (b"a", b"b"),
        "files": ("a.jpg", "b.jpg"),
        "entities": ("X", "X"),
        "splits": ("train", "test"),
    }
    assert listed_twice.shown[0].entities == ("X", "Y")


def test_data_of_before_have_nothing_to_show(tmp_path: Path) -> None:
    assert similar_pairs(DataLayout(tmp_path)) == []


def evaluation(**more: Any) -> EvalReport:
    about = {"index": "mixed", "direction": "image_to_text", "slice": "all", "name": "R@1"}
    found = Metric.model_validate({**about, "value": 81.0, "low": 78, "high": 84, "queries": 100})
    report = EvalReport(
        model_fingerprint="m",
        evaluation_hash="e",
        split="test",
        pictures=100,
        entities=9,
        metrics=(found,),
        seconds=1.0,
    )
    without = found.model_copy(update={"value": 79.5, "low": 76.0, "high": 83.0, "queries": 88})
    return report.model_copy(
        update={"without_near_duplicates": (without,) if more.get("near_duplicates") else (), **more}
    )


def test_one_line_says_what_near_duplicates_do_to_recall() -> None:
    assert near_duplicates_text(evaluation()) == ""
    assert near_duplicates_text(evaluation(near_duplicates=0)).startswith("No query is a near duplicate")
    line = near_duplicates_text(evaluation(near_duplicates=12))
    assert line.startswith("12 of 100 queries are near duplicates")
    assert "mixed 81.0 with them, 79.5 [76.0, 83.0] without" in line
