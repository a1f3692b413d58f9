"""What has a colour, by the words beside it, and colours that the texts of the source contradict."""

from __future__ import annotations

import pandas as pd
import pytest

from entityclip.data.sources.synthetic.japanese import _WORDS, explain_in_japanese
from entityclip.data.sources.synthetic.products import explain, invent
from entityclip.quality.claims.source_colours import ColourReader, checked_by_source
from entityclip.quality.claims.vocabulary import read_vocabulary

VOCABULARY = read_vocabulary()
READER = ColourReader(VOCABULARY)


def test_a_part_and_a_pattern_of_every_text_have_the_second_colour() -> None:
    for product in invent(100, seed=7):
        second = product.look.accent
        for text in explain(product, seed=7).values():
            found = READER.found(text, "en")
            assert {owned.colour for owned in found} == {second}
            assert len(found) == (1 if product.look.pattern == "plain" else 2)
        for text in explain_in_japanese(product, seed=7).values():
            assert {owned.colour for owned in READER.found(text, "ja")} == {_WORDS[second]}


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("An orange backpack; the pocket is painted in dark purple.", "en", {("pocket", "purple")}),
        ("A grey mug with Blue handles and white, round dots.", "en", {("handle", "blue")}),
        (
            "Green is the colour of the dial, and the base has a red switch.",
            "en",
            {("dial", "green"), ("switch", "red")},
        ),
        ("A red kettle with a white label and its lid.", "en", set()),
        ("Dots in white legs.", "en", set()),
        ("蓋の色は赤で、緑の水玉があります。", "ja", {("蓋", "赤"), ("水玉", "緑")}),
        ("赤いやかんで、蓋があります。", "ja", set()),
        ("Ein roter Deckel, red lid.", "de", set()),
    ],
)
def test_a_colour_belongs_to_what_stands_beside_it_or_to_nothing(
    text: str, language: str, expected: set[tuple[str, str]]
) -> None:
    assert {(owned.owner[1], owned.colour) for owned in READER.found(text, language)} == expected


def test_a_true_colour_of_the_wrong_part_is_contradicted_by_the_source() -> None:
    source = pd.DataFrame(
        [
            ("bag", "A backpack in orange; its pocket is purple.", "en"),
            ("bag", "An orange backpack with a purple pocket.", "en"),
            ("mug", "A mug with a red handle.", "en"),
            ("mug", "A mug with a blue handle.", "en"),
            ("fan", "白の扇風機で、羽根は青です。", "ja"),
        ],
        columns=["entity_id", "text", "language"],
    )
    written = [
        ("bag", "A backpack in orange, and the pocket is finished in orange.", "en", "orange"),
        ("bag", "A backpack in orange; its pocket is purple.", "en", "purple"),
        ("mug", "A fine mug, the handle is blue.", "en", "blue"),
        ("fan", "The blades are white.", "en", "white"),
        ("fan", "羽根は白です。", "ja", "白"),
        ("new", "The lid is white.", "en", "white"),
    ]
    texts = pd.DataFrame(written, columns=["entity_id", "text", "language", "colour"])
    claims = pd.DataFrame({"position": range(len(texts)), "attribute": "colour", "value": texts["colour"]})
    claims = claims.assign(verdict="supported", reason="")
    found = checked_by_source(claims, texts, source, VOCABULARY)
    assert found["verdict"].eq("contradicted").tolist() == [True, False, False, False, True, False]
    assert found["reason"].tolist()[0] == "the source says that the colour of the pocket is purple"
    assert found["reason"].tolist()[4] == "the source says that the colour of the 羽根 is 青"
    other = checked_by_source(claims.assign(attribute="part"), texts, source, VOCABULARY)
    assert set(other["verdict"]) == {"supported"}


def test_a_colour_of_the_body_is_kept_apart_from_that_of_a_part() -> None:
    owners = READER.owners("A backpack in red; its pocket is red, and the handle is blue.", "en")
    assert owners == {"red": ["", "pocket"], "blue": ["handle"]}
