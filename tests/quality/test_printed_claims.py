"""An explanation that quotes a word or names a code is compared with what was read on the pictures."""

from __future__ import annotations

import pandas as pd
import pytest

from entityclip.quality.printed_claims import PrintedTexts, not_on_label

ENTITIES = pd.DataFrame({"entity_id": ["juice"], "entity": ["Golden Grove"], "aliases": [["KX-204B", "黄金の森"]]})
READ = {"juice": PrintedTexts(3, ["TROPICANA", "APELSlN 1,0 L", "MELLANMJÖLK", "RX-4821B", "オレンジジュース"])}


def claim(text: str, *, source: str = "") -> str | None:
    texts = pd.DataFrame({"entity_id": ["juice"], "caption": ["Orange juice"], "text": [text]})
    sources = pd.DataFrame({"entity_id": ["juice"], "text": [source]})
    value = not_on_label(texts, ENTITIES, sources, READ).iloc[0]
    return None if pd.isna(value) else str(value)


@pytest.mark.parametrize(
    "text",
    [
        "A carton with an orange on it.",
        'A carton that says "Apelsin".',
        'The label reads "Mellanmjolk" in green.',
        "The code on it is RX-4821B.",
        "The code on it is RX-482IB.",
        'It is the "Golden Grove", KX-204B.',
        "正面に「オレンジジュース」と書かれた紙パック。",
        "「黄金の森」の紙パック。",
        "A carton for USB30 and IP44.",
        'A pan of 12" with a handle of 3" and a lid of 11".',
    ],
)
def test_what_a_picture_or_the_name_holds_is_no_claim(text: str) -> None:
    assert claim(text) is None


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ('A carton that says "Peruna".', '"Peruna"'),
        ('A carton that says "Tropicana Peruna".', '"Tropicana Peruna"'),
        ("A carton marked QZ-9173.", "QZ-9173"),
        ("A carton marked RX-4822B.", "RX-4822B"),
        ("正面に「りんごジャム」と書かれた紙パック。", '"りんごジャム"'),
    ],
)
def test_what_no_picture_shows_is_named_with_what_was_read(text: str, begins: str) -> None:
    value = claim(text)
    assert value is not None
    assert value.startswith(f"{begins}; read on 3 pictures: TROPICANA / APELSlN")


def test_a_code_of_the_sources_is_no_claim_but_a_quoted_word_is() -> None:
    assert claim("It fits the QZ-9173.", source="For the QZ-9173.") is None
    assert claim('It says "Peruna".', source='It says "Peruna".') is not None


def test_pictures_without_text_and_pictures_that_were_not_read_differ() -> None:
    texts = pd.DataFrame({"entity_id": ["juice", "milk"], "caption": ["", ""], "text": ['It says "Milk".'] * 2})
    sources = pd.DataFrame({"entity_id": [], "text": []}, dtype="str")
    values = not_on_label(texts, ENTITIES, sources, {"juice": PrintedTexts(1)})
    assert values.iloc[0] == '"Milk"; nothing was read on 1 picture'
    assert pd.isna(values.iloc[1])
