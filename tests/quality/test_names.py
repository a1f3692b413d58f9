"""Whose names a text holds, in Japanese, Latin and both, whatever stands around them."""

from __future__ import annotations

import unicodedata

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entityclip.quality import score_explanations
from entityclip.quality.names import NameBook
from entityclip.quality.tokens import WORD

BREAKERS = ["遮断器", "遮断器 KX-204B", "遮断器・KX-205B", "ブレーカー", "ブレーカ"]


def book_of(*names: str) -> NameBook:
    """Each name is that of an entity whose id is its number."""
    rows = [{"entity_id": str(number), "entity": name, "aliases": None} for number, name in enumerate(names)]
    return NameBook(pd.DataFrame(rows, columns=["entity_id", "entity", "aliases"]))


def named(book: NameBook, text: str) -> set[str]:
    """As the scorer looks: at the text in NFKC."""
    text = unicodedata.normalize("NFKC", text)
    return book.named(text, WORD.findall(text.casefold()))


# ---------------------------------------------------------------- the end of a text
@pytest.mark.parametrize("text", ["これは遮断器", "遮断器", "品番は遮断器 KX-20", "ブレーカ", "遮断", "", "器"])
def test_a_name_at_the_end_of_a_text_is_not_read_past_it(text: str) -> None:
    found = named(book_of(*BREAKERS), text)
    assert found <= {"遮断器", "ブレーカ"}
    assert all(name in text for name in found)


@pytest.mark.parametrize(
    "text", ["遮断器 KX-204Bです。", "遮断器KX-204Bです。", "遮断器 KX204Bです。", "遮断器　ＫＸ－２０４Ｂです。"]
)
def test_a_japanese_name_with_a_code_is_found_as_people_write_it(text: str) -> None:
    book = book_of(*BREAKERS)
    assert book.own("1", named(book, text))


def test_a_piece_of_a_longer_katakana_word_or_code_is_no_name() -> None:
    assert named(book_of(*BREAKERS), "サブブレーカー") == set()
    assert not book_of(*BREAKERS).own("1", named(book_of(*BREAKERS), "遮断器 KX-204BX"))


@pytest.mark.parametrize("names", [["遮断器 KX-204B", "ZF-100A"], ["Breaker KX-204B", "ZF-100A"]])
def test_a_code_inside_a_name_is_not_invented(names: list[str]) -> None:
    book = book_of(*names)
    assert book.unknown_code("KX-204B and ZF-100A", caption="breaker") is None
    assert book.unknown_code("KX-999B", caption="breaker") == "KX-999B"


# ---------------------------------------------------------------- any name, any text
SIGNS = st.sampled_from(
    "あかきソラマメゲパーッ々〆遮断器赤青亜𠮷ｱｲｶﾞﾊﾟｰ・「」、。　 -ー_aZkx09ＫＸ９ßİŉﬁ㍻㌢①"
    "\u3099\u309a\u0301\u200d👩🔧🇯🇵\n\0"
)
NAMES = st.lists(st.text(SIGNS, max_size=8) | st.sampled_from([*BREAKERS, "KX-204B", "Orange"]), max_size=6)


@st.composite
def books_and_texts(draw: st.DrawFn) -> tuple[list[str], str]:
    names = draw(NAMES)
    pieces = st.sampled_from([*names, ""]).map(lambda name: name[: draw(st.integers(0, len(name)))])
    return names, "".join(draw(st.lists(st.text(SIGNS, max_size=6) | st.sampled_from([*names, ""]) | pieces)))


@settings(max_examples=300)
@given(books_and_texts())
def test_names_that_are_found_stand_in_the_text(case: tuple[list[str], str]) -> None:
    names, text = case
    book, written = book_of(*names), unicodedata.normalize("NFKC", text)
    folded = written.casefold()
    for name in named(book, text):
        assert name in written or name in folded or name in "".join(WORD.findall(folded))


@pytest.mark.slow
@settings(max_examples=100)
@given(books_and_texts(), st.text(max_size=30))
def test_no_name_and_no_text_stop_the_scorer(case: tuple[list[str], str], anything: str) -> None:
    names, text = case
    names = names or ["遮断器"]
    entities = pd.DataFrame(
        [{"entity_id": str(i), "entity": name, "aliases": [anything], "category": ""} for i, name in enumerate(names)]
    )
    texts = [text, anything, text + anything, ""]
    rows = [{"entity_id": "0", "caption": names[0], "text": text, "language": "ja"} for text in texts]
    scored = score_explanations(pd.DataFrame(rows), entities, source_provided=pd.DataFrame(rows))
    assert len(scored) == len(texts)


@settings(max_examples=200)
@given(
    st.text(st.sampled_from("遮断器端子台リレー"), min_size=2, max_size=6),
    st.from_regex(r"[A-Z]{1,3}-[0-9]{2,4}[A-Z]?", fullmatch=True, alphabet="ABKXZ0123456789-"),
    st.sampled_from(["", " ", "・"]),
)
def test_a_name_in_brackets_is_found_in_its_own_text(word: str, code: str, between: str) -> None:
    name = word + between + code
    book = book_of(name)
    assert book.own("0", named(book, f"これは「{name}」です。"))
