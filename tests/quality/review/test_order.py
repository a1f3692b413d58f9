"""The order of the review: likely to return, rare, wanted."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from tiny import COLOURS, tiny_data

from entityclip.data import pairs
from entityclip.paths import DataLayout
from entityclip.quality.review import PendingText, Review
from entityclip.quality.review.order import by_expected_gain


@pytest.fixture
def data(tmp_path: Path) -> DataLayout:
    return tiny_data(tmp_path / "data")  # 10, 3, 2, 1, 0 and 0 training photographs


def waiting(data: DataLayout, rules: str = "email") -> list[PendingText]:
    return [
        PendingText(
            **{name: row[name] for name in ("explanation_id", "entity_id", "language", "text", "generator")},
            entity=row["caption"],
            category="",
            rules=rules,
            values="",
        )
        for row in pairs.iter_rows(data.explanations)
    ]


def colours(found: list[PendingText]) -> list[str]:
    return [text.entity.removeprefix("KX-").lower() for text in found]


def test_the_fewer_photographs_the_earlier(data: DataLayout) -> None:
    assert colours(by_expected_gain(waiting(data), data)) == [*COLOURS[4::-1]]


def test_what_people_look_for_comes_earlier(data: DataLayout) -> None:
    found = by_expected_gain(waiting(data), data, requests={pairs.entity_id("KX-RED"): 10**6})
    assert colours(found)[0] == "red"


def test_a_rule_whose_texts_were_always_rejected_comes_last(data: DataLayout) -> None:
    texts = waiting(data)
    texts = [text.model_copy(update={"rules": "email refusal"}) if "PURPLE" in text.entity else text for text in texts]
    rejected = [
        Review(
            explanation_id=f"old {number}",
            entity_id="",
            entity="",
            rules="refusal",
            text="",
            decision="reject",
            reviewer="Ana",
            minutes=1,
            day=date(2026, 11, 1),
        )
        for number in range(30)
    ]
    assert colours(by_expected_gain(texts, data))[0] == "purple"
    assert colours(by_expected_gain(texts, data, decided=rejected))[0] == "orange"


def test_the_second_text_of_a_product_is_worth_less(data: DataLayout) -> None:
    texts = waiting(data)
    twice = [*texts, *(text.model_copy(update={"explanation_id": f"again {text.entity}"}) for text in texts)]
    assert colours(by_expected_gain(twice, data))[:2] == ["purple", "orange"]
