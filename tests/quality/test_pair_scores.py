from __future__ import annotations

from typing import Any

import pandas as pd

from entityclip.quality import score_pairs


def scored(*rows: dict[str, Any]) -> pd.DataFrame:
    sound = {"entity_id": "a", "entity": "A", "caption": "a thing", "split": "train", "width": 96, "height": 96}
    return score_pairs(pd.DataFrame([{"pair_id": f"p{i}", **sound, **row} for i, row in enumerate(rows)]))


def test_sound_rows_have_no_fault() -> None:
    frame = scored({"image_sha256": "1"}, {"image_sha256": "2", "split": "test"})
    assert frame[["duplicate_of", "also_shows", "leaked_from"]].isna().all(axis=None)
    assert list(frame["caption_length"]) == [7, 7]


def test_a_picture_twice_points_at_the_first_in_training_order() -> None:
    frame = scored({"image_sha256": "1", "split": "test"}, {"image_sha256": "1"}, {"image_sha256": "1"})
    assert list(frame["duplicate_of"].fillna("-")) == ["p1", "-", "p1"]


def test_a_picture_of_two_entities_is_a_fault_of_each_row() -> None:
    frame = scored({"image_sha256": "1"}, {"image_sha256": "1", "entity_id": "b", "entity": "B"}, {"image_sha256": "2"})
    assert list(frame["also_shows"].fillna("-")) == ["B", "A", "-"]
    assert frame["duplicate_of"].isna().all()


def test_two_entities_of_one_name_are_still_two() -> None:
    frame = scored({"image_sha256": "1"}, {"image_sha256": "1", "entity_id": "b"})
    assert list(frame["also_shows"]) == ["A", "A"]


def test_a_trained_picture_in_the_test_split_is_a_leak_even_under_another_entity() -> None:
    frame = scored({"image_sha256": "1"}, {"image_sha256": "1", "split": "test", "entity_id": "b", "entity": "B"})
    assert list(frame["leaked_from"].fillna("-")) == ["-", "train"]


NEAR = pd.DataFrame(
    [("1", "2", "near duplicate"), ("1", "3", "near duplicate")], columns=["image_sha256", "near_sha256", "kind"]
)


def test_a_near_duplicate_of_a_training_picture_and_of_another_entity_have_a_column_each() -> None:
    rows = [{"image_sha256": "1"}, {"image_sha256": "2", "split": "test"}]
    rows += [{"image_sha256": "3", "split": "test", "entity_id": "b", "entity": "B"}, {"image_sha256": "4"}]
    frame = scored(*rows)
    assert frame[["nearly_leaked_from", "nearly_shows"]].isna().all(axis=None)
    frame = score_pairs(frame, near=NEAR)
    assert list(frame["nearly_leaked_from"].fillna("-")) == ["-", "p0", "-", "-"]
    assert list(frame["nearly_shows"].fillna("-")) == ["B", "-", "A", "-"]


def test_a_missing_caption_has_length_zero() -> None:
    captions = [None, "", " \t\u3000", "赤"]
    frame = scored(*({"image_sha256": str(i), "caption": c} for i, c in enumerate(captions)))
    assert list(frame["caption_length"]) == [0, 0, 0, 1]


def test_a_banner_is_elongated_and_zero_height_is_no_crash() -> None:
    frame = scored({"image_sha256": "1", "width": 300, "height": 60}, {"image_sha256": "2", "height": 0})
    assert frame["elongation"][0] == 5
    assert list(frame["shorter_side"]) == [60, 0]
    assert frame["elongation"].isna()[1]


def test_an_empty_table_has_every_score() -> None:
    one = scored({"image_sha256": "1"})
    assert list(score_pairs(one.iloc[:0][list(one.columns[:9])]).columns) == list(one.columns)
