"""Colours that the source contradicts are replaced, and everything else in a text stays."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tiny import tiny_data

from entityclip.data import pairs
from entityclip.data.sources.synthetic.japanese import explain_in_japanese
from entityclip.data.sources.synthetic.products import explain, invent
from entityclip.quality.claims.correct import correct_staged, corrected_texts
from entityclip.quality.claims.vocabulary import read_vocabulary

VOCABULARY = read_vocabulary()
SOURCE = pd.DataFrame(
    [
        ("bag", "An orange backpack with a purple pocket.", "en"),
        ("mug", "A mug with a red handle.", "en"),
        ("mug", "A mug with a blue handle.", "en"),
        ("fan", "白の扇風機で、羽根は青です。", "ja"),
        ("pot", "取っ手は赤です。", "ja"),
    ],
    columns=["entity_id", "text", "language"],
)


def texts(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["entity_id", "text", "language"]).assign(reviewer=None)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            ("bag", "An orange backpack; its pocket is orange. An orange pocket!", "en"),
            "An orange backpack; its pocket is purple. A purple pocket!",
        ),
        (("fan", "白い扇風機、羽根は白です。", "ja"), "白い扇風機、羽根は青です。"),
        (("pot", "黒い取っ手。", "ja"), "赤い取っ手。"),
        (("mug", "The handle is green.", "en"), None),  # the source names two colours
        (("bag", "Its pocket is purple.", "en"), None),
        (("bag", "An orange backpack with a purple pocket.", "en"), None),
        (("new", "The lid is white.", "en"), None),
    ],
)
def test_the_colour_of_a_part_becomes_that_of_the_source(row: tuple[str, str, str], expected: str | None) -> None:
    found = list(corrected_texts(texts(row), SOURCE, VOCABULARY))
    assert [one.text for one in found] == ([] if expected is None else [expected])


def test_every_text_whose_second_colour_was_exchanged_becomes_the_text_of_the_source() -> None:
    changed = 0
    for product in invent(60, seed=3):
        other = "green" if product.look.accent != "green" else "purple"
        if product.look.body in (other, product.look.accent):
            continue
        look = product.look.model_copy(update={"accent": other})
        wrong = product.model_copy(update={"look": look})
        for language, write in (("en", explain), ("ja", explain_in_japanese)):
            if language == "ja" and "stripe" in product.look.pattern:
                continue  # 横に走る緑の縞, whose words stand apart, is no claim
            sound, faulty = write(product, seed=3), write(wrong, seed=3)
            source = texts(*(("x", text, language) for text in sound.values()))
            for name, text in faulty.items():
                (found,) = corrected_texts(texts(("x", text, language)), source, VOCABULARY)
                assert found.text == sound[name]
                changed += 1
    assert changed > 100


def test_staging_is_corrected_once_and_a_text_of_a_person_stays(tmp_path: Path) -> None:
    staging = tiny_data(tmp_path)
    first, second, *others = pairs.iter_rows(staging.explanations)
    wrong = "A disc; its lid is green."
    pairs.write_rows(
        staging.explanations,
        pairs.EXPLANATIONS,
        [first | {"text": wrong}, second | {"text": wrong, "reviewer": "Ana"}, *others],
        name="explanations",
    )
    source = [
        {"entity_id": row["entity_id"], "text": "The lid is red.", "language": "en", "row": 1}
        for row in (first, second)
    ]
    pairs.write_rows(staging.source_provided, pairs.SOURCE_PROVIDED, source, name="source_provided")
    lines = correct_staged(staging, VOCABULARY)
    assert lines[["why", "text", "corrected"]].to_numpy().tolist() == [
        ["lid: green -> red", wrong, "A disc; its lid is red."]
    ]
    rows = pairs.read_frame(staging.explanations)
    assert rows["text"].tolist()[:2] == ["A disc; its lid is red.", wrong]
    assert rows["explanation_id"][0] != first["explanation_id"]
    assert correct_staged(staging, VOCABULARY).empty
    assert pairs.read_frame(staging.explanations).equals(rows)
