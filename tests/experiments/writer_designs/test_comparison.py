"""Designs of writers compared: figures with paired intervals, the conclusion, agreement."""

from __future__ import annotations

import pandas as pd
import pytest

from entityclip.data import pairs
from entityclip.experiments.writer_designs.comparison import (
    CLAIM,
    ComparedMeasure,
    DesignComparison,
    JudgedDesign,
    compare_designs,
)
from entityclip.experiments.writer_designs.comparison_page import conclusion
from entityclip.experiments.writer_designs.designs import DesignTexts

ENTITIES = [f"e{number:02}" for number in range(30)]


def design(name: str, *, wrong: int, seconds: float, words: int = 9, money: float = 0.0) -> JudgedDesign:
    """One text and two claims of each entity: its own colour, contradicted for the first ``wrong`` ones, and a part."""
    texts = pd.DataFrame([{"entity_id": entity, "text": "A red lid.", "language": "en"} for entity in ENTITIES])
    colours = ["red" if place < wrong else f"colour {entity}" for place, entity in enumerate(ENTITIES)]
    rows = [
        row
        for place, (entity, colour) in enumerate(zip(ENTITIES, colours, strict=True))
        for row in (
            (place, entity, "en", "colour", colour, "contradicted" if place < wrong else "supported", False),
            (place, entity, "en", "part", "lid", "not checkable", place < wrong),
        )
    ]
    claims = pd.DataFrame(rows, columns=["position", *CLAIM, "verdict", "unusual"])
    costs = [(entity, 100, seconds + place / 10, money) for place, entity in enumerate(ENTITIES)]
    requests = pd.DataFrame(costs, columns=["entity_id", "tokens", "seconds", "money"])
    written = DesignTexts(name, f"rules-{name}", {}, texts.reindex(columns=pairs.EXPLANATIONS.names), requests, {})
    broken = pd.DataFrame({"position": range(wrong // 3), "rule": "low_text_quality", "value": "0.1"})
    return JudgedDesign(written, [words] * len(texts), broken, claims[["position", *CLAIM]], claims)


@pytest.fixture(scope="module")
def compared() -> DesignComparison:
    first = design("plain", wrong=18, seconds=1.0)
    return compare_designs([first, design("<b>", wrong=3, seconds=2.0, money=0.5)], ENTITIES, ["R@1: no model"])


def measure(compared: DesignComparison, name: str) -> ComparedMeasure:
    return next(one for one in compared.measures if one.name == name)


def test_a_share_is_of_all_claims_and_its_difference_is_paired_over_entities(compared: DesignComparison) -> None:
    supported = measure(compared, "supported")
    assert [value and value.value for value in supported.values] == [20.0, 45.0]
    (difference,) = supported.differences
    assert difference is not None
    assert difference.value == 25.0
    assert 10 < difference.low < 20 < 30 < difference.high < 40
    assert (supported.ahead(1), measure(compared, "contradicted").ahead(1)) == (1, 1)
    seconds = measure(compared, "seconds")
    (slower,) = seconds.differences
    assert slower is not None
    assert (slower.low, slower.high) == pytest.approx((1, 1), abs=1e-4)  # what an entity adds to both designs cancels
    assert seconds.ahead(1) == -1


def test_what_is_equal_or_not_known_leaves_open_which_design_is_ahead(compared: DesignComparison) -> None:
    words, tokens, r1, money = (measure(compared, name) for name in ("words", "tokens", "r1", "money"))
    assert (words.better, words.ahead(1), tokens.ahead(1)) == ("", 0, 0)
    assert r1.values == (None, None)
    assert (money.values[0], money.differences) == (None, (None,))
    assert measure(compared, "not_checkable").ahead(1) == 0


def test_agreement_is_the_share_of_claims_that_both_make(compared: DesignComparison) -> None:
    (agreement,) = compared.agreement
    assert agreement is not None
    assert agreement.value == pytest.approx((15 * 100 + 15 * 100 / 3) / 30)


def test_the_conclusion_says_who_is_ahead_on_what_and_what_is_open(compared: DesignComparison) -> None:
    assert conclusion(compared, "en").striptags() == (
        "<b> is ahead of plain on claims that the pictures support (45.0 % against 20.0 %), contradicted claims (5.0 % "
        "against 30.0 %), texts with a contradicted claim (10.0 % against 60.0 %), unusual claims (5.0 % against "
        "30.0 %), supported claims of an entity (0.90 against 0.40) and texts that the gate sets aside (3.3 % against "
        "20.0 %); plain is ahead of <b> on seconds of an answer (2.45 against 3.45); equal: entities without a text "
        "and tokens of an answer."
    )
    assert "&lt;b&gt;" in conclusion(compared, "en")
    japanese = conclusion(compared, "ja").striptags()
    assert japanese.startswith("<b> は、画像が裏づける記述の割合(45.0% 対 20.0%)、")
    assert japanese.endswith("説明文のない対象の割合、回答あたりのトークン数は同じです。")
    same = compare_designs([design("a", wrong=3, seconds=1), design("b", wrong=3, seconds=1)], ENTITIES, [])
    assert conclusion(same, "en").striptags().startswith("No measure decides between a and b; equal: claims that")
    close = compare_designs([design("a", wrong=3, seconds=1), design("b", wrong=4, seconds=1)], ENTITIES, [])
    assert "includes zero (b against a): claims that the pictures support (" in conclusion(close, "en").striptags()


def test_a_design_without_any_text_is_compared_by_what_it_lacks() -> None:
    empty = design("empty", wrong=0, seconds=1)
    nothing = empty.written.texts[:0]
    empty = empty._replace(
        written=empty.written._replace(texts=nothing, rejected={"text: is empty": 30}),
        words=[],
        stated=empty.stated[:0],
        claims=empty.claims[:0] if empty.claims is not None else None,
    )
    found = compare_designs([design("plain", wrong=3, seconds=1), empty], ENTITIES, [])
    assert measure(found, "no_text").ahead(1) == -1
    assert measure(found, "supported_claims").ahead(1) == -1
    assert measure(found, "supported").differences == (None,)
    assert found.agreement == (None,)
    assert found.designs[1].rejected == {"text: is empty": 30}
