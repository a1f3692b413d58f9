from __future__ import annotations

import random
from typing import Literal

import pandas as pd
import pytest

from benchmarks.lib.claim_truth import ClaimJudge, claim_figures, judged
from entityclip.data.sources.synthetic.attribute_faults import ATTRIBUTE_FAULTS, AttributeFault, with_attribute_fault
from entityclip.data.sources.synthetic.japanese import explain_in_japanese
from entityclip.data.sources.synthetic.products import Product, explain, invent
from entityclip.quality.claims.vocabulary import read_vocabulary

SEED = 7
PRODUCTS = {product.code: product for product in invent(60, seed=SEED)}
MISSED: set[AttributeFault] = {"count", "omitted_part"}
"""A number has no known truth, and a text that leaves something out says nothing wrong."""


def judge_of(language: Literal["en", "ja"]) -> ClaimJudge:
    return ClaimJudge(PRODUCTS, language=language, seed=SEED, vocabulary=read_vocabulary())


@pytest.mark.parametrize("language", ["en", "ja"])
def test_sound_texts_make_true_claims_and_wrong_ones_a_false_one(language: Literal["en", "ja"]) -> None:
    judge, write = judge_of(language), explain if language == "en" else explain_in_japanese
    for code, product in PRODUCTS.items():
        assert all(all(judge.true(code, text).values()) for text in write(product, seed=SEED).values())
    for fault in set(ATTRIBUTE_FAULTS) - MISSED:
        found = [
            all(judge.true(code, text).values())
            for code, product in PRODUCTS.items()
            for text in with_attribute_fault(
                product, fault, language=language, seed=SEED, rng=random.Random(code)
            ).values()
        ]
        # Some parts are drawn and never named, and one Japanese form splits a stripe in two words.
        assert sum(found) < (0.3 if fault == "pattern" else 0.1) * len(found)


def test_a_colour_belongs_to_what_the_words_say_has_it() -> None:
    known = next(iter(PRODUCTS.values()))
    look = known.look.model_copy(update={"kind": "mug", "body": "red", "accent": "blue", "pattern": "dots"})
    product = Product(**{**known.model_dump(), "look": look})
    judge = ClaimJudge({"e": product}, language="en", seed=SEED, vocabulary=read_vocabulary())

    def colours(text: str) -> dict[str, bool]:
        return {value: true for (attribute, value), true in judge.true("e", text).items() if attribute == "colour"}

    assert colours("A red mug with blue dots.") == {"red": True, "blue": True}
    assert colours("A blue mug with red dots.") == {"blue": False, "red": False}
    assert colours("A red mug; its handle is red.") == {"red": False}  # once true, once not
    assert colours("A white label in red and blue.") == {"white": True, "red": True, "blue": True}
    assert judge.true("e", "A wooden mug.") == {("material", "wooden"): False}


def test_figures_count_claims_before_and_after_the_gate() -> None:
    texts = pd.DataFrame(
        {
            "explanation_id": ["a", "b"],
            "entity_id": ["e", "e"],
            "text": ["A red mug.", "A green mug; its handle is red."],
        }
    )
    look = next(iter(PRODUCTS.values())).look.model_copy(update={"kind": "mug", "body": "red", "accent": "blue"})
    product = next(iter(PRODUCTS.values())).model_copy(update={"look": look})
    judge = ClaimJudge({"e": product}, language="en", seed=SEED, vocabulary=read_vocabulary())
    claims = pd.DataFrame(
        {
            "explanation_id": ["a", "b", "b", "b"],
            "entity_id": "e",
            "attribute": ["colour", "colour", "colour", "count"],
            "value": ["red", "green", "red", "one"],
            "verdict": ["supported", "contradicted", "supported", "not checkable"],
            "unusual": [False, False, False, True],
        }
    )
    found = claim_figures(judged(claims, texts, judge), aside={"b"})
    assert (found["claims"], found["true_share"], found["true_share_after_gate"]) == (3, 0.333, 1.0)
    assert (found["checkable_share"], found["caught_wrong_claims"], found["false_alarms"]) == (1.0, 0.5, 0.0)
    assert (found["reported_wrong_claims"], found["reported_true_claims"]) == (0.5, 0.0)
    assert found["missed_claims"] == {"colour": "0 of 2"}
    assert found["misplaced_colours"] == {"supported": 1}  # red, which the body is
