"""Texts that are wrong in one attribute: the rest stays word for word."""

from __future__ import annotations

import random
from typing import Literal

import pytest

from entityclip.data.sources.synthetic.attribute_faults import ATTRIBUTE_FAULTS, AttributeFault, with_attribute_fault
from entityclip.data.sources.synthetic.drawing import COLOURS
from entityclip.data.sources.synthetic.japanese import explain_in_japanese
from entityclip.data.sources.synthetic.products import Product, explain, invent

PRODUCTS = invent(40, seed=7)


def sound(product: Product, language: str) -> dict[str, str]:
    return (explain if language == "en" else explain_in_japanese)(product, seed=7)


def faulty(product: Product, fault: AttributeFault, language: Literal["en", "ja"]) -> dict[str, str]:
    return with_attribute_fault(product, fault, language=language, seed=7, rng=random.Random(product.code))


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("fault", ATTRIBUTE_FAULTS)
def test_every_text_is_wrong_and_most_of_it_stays(fault: AttributeFault, language: Literal["en", "ja"]) -> None:
    for product in PRODUCTS:
        before, after = sound(product, language), faulty(product, fault, language)
        assert before.keys() == after.keys()
        for form, text in after.items():
            assert text != before[form]
            assert set("{}[]").isdisjoint(text)
            kept = set(before[form].replace(",", " ").split()) & set(text.replace(",", " ").split())
            assert language == "ja" or len(kept) >= 0.5 * len(set(before[form].split()))


def test_another_colour_stands_wherever_the_text_names_it() -> None:
    for product in PRODUCTS:
        for text in faulty(product, "second_colour", "en").values():
            named = [colour for colour in COLOURS if f" {colour}" in text]
            assert product.look.accent not in named
            assert product.look.body in named
            assert len(named) == 2


def test_a_wrong_count_is_grammatical_and_an_omitted_part_leaves_no_trace() -> None:
    chair = next(product for product in PRODUCTS if product.look.kind == "chair")
    radio = next(product for product in PRODUCTS if product.look.kind == "radio")
    assert "its six legs are" in faulty(chair, "count", "en")["explanation_a"]
    assert "its two dials are" in faulty(radio, "count", "en")["explanation_a"]
    assert "2つのダイヤルは" in faulty(radio, "count", "ja")["explanation_a"]
    for language in ("en", "ja"):
        for text in faulty(radio, "omitted_part", language).values():
            assert "dial" not in text
            assert "ダイヤル" not in text
