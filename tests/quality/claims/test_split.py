"""Texts into claims, and claims exchanged: the generator of the catalogue knows what its texts say."""

from __future__ import annotations

import pytest

from entityclip.data.sources.synthetic.japanese import explain_in_japanese
from entityclip.data.sources.synthetic.products import explain, invent
from entityclip.data.sources.synthetic.silhouettes import SILHOUETTES
from entityclip.quality.claims.split import ClaimSplitter, exchanged
from entityclip.quality.claims.vocabulary import read_vocabulary

SPLITTER = ClaimSplitter(read_vocabulary())


def claims(text: str, language: str) -> dict[str, list[str]]:
    """Attribute -> values that the text states."""
    found: dict[str, list[str]] = {}
    for claim in SPLITTER.claims(text, language):
        found.setdefault(claim.attribute, []).append(claim.value)
    return found


def test_every_attribute_of_every_english_text_is_a_claim() -> None:
    for product in invent(150, seed=7):
        look = product.look
        for text in explain(product, seed=7).values():
            found = claims(text, "en")
            assert set(found["colour"]) == {look.body, look.accent}
            assert found["part"] == [SILHOUETTES[look.kind].accent_part]
            assert found["label"] == [look.label if look.label == "nameplate" else f"{look.label} label"]
            assert found["pattern"] == [
                "plain surface without any pattern" if look.pattern == "plain" else look.pattern
            ]
            assert found.keys() == {"colour", "part", "label", "pattern"}


def test_every_attribute_of_every_japanese_text_is_a_claim_but_for_stripes_that_run() -> None:
    for product in invent(150, seed=7):
        for text in explain_in_japanese(product, seed=7).values():
            found = claims(text, "ja")
            assert len(found["colour"]) == 2
            assert [len(found[name]) for name in ("part", "label")] == [1, 1]
            assert len(found.get("pattern", ())) == (0 if "の縞" in text else 1)


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("A coloured chair with a blackboard.", "en", {}),
        ("A Red-handled mug with GREY dots.", "en", {"colour": ["red", "grey"], "pattern": ["dots"]}),
        ("Two wooden legs.", "en", {"count": ["two"], "material": ["wooden"], "part": ["legs"]}),
        ("面白い形の茶器", "ja", {}),
        ("2つの取っ手は木製の白い部品です。", "ja",
         {"count": ["2つの"], "part": ["取っ手"], "material": ["木製の"], "colour": ["白"]}),
        ("Ein roter Stuhl.", "de", {}),
    ],
)  # fmt: skip
def test_words_inside_other_words_are_no_claims(text: str, language: str, expected: dict[str, list[str]]) -> None:
    assert claims(text, language) == expected


@pytest.mark.parametrize(
    ("text", "language", "spellings", "expected"),
    [
        ("A red mug with red dots.", "en", ("orange",), "An orange mug with orange dots."),
        ("It is an orange fan.", "en", ("blue",), "It is a blue fan."),
        ("赤い本体", "ja", ("青", "青い"), "青い本体"),
        ("赤い本体", "ja", ("緑",), "緑の本体"),
        ("赤の本体", "ja", ("黄色", "黄色い"), "黄色の本体"),
    ],
)
def test_an_exchanged_claim_reads_well(text: str, language: str, spellings: tuple[str, ...], expected: str) -> None:
    claim = SPLITTER.claims(text, language)[0]
    assert exchanged(text, claim, spellings) == expected
