"""What is the same name, what is almost the same, and what is part of it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entityclip.retrieval.index.spelling import LONGEST, grams, key, named_in, phrase, piece, query_words, slips

SAME_CODE = ["KX-204B", "kx204b", "ＫＸ－２０４Ｂ", "KX 204 B", "KX‐204B", "KX−204B", "kx_204.b", "KX-2O4B"]


@pytest.mark.parametrize("written", SAME_CODE)
def test_a_code_has_one_key_however_it_is_written(written):
    assert key(written) == "kx204b"


def test_look_alikes_count_only_in_codes():
    assert key("oil") == "oil"
    assert key("OIL-1") == "0111"


def test_long_vowel_marks_and_dots_make_no_difference():
    assert key("コンピューター") == key("コンピュータ") == key("ｺﾝﾋﾟｭｰﾀ")
    assert key("ステンレス・ポンプ") == key("ステンレス ポンプ")


@pytest.mark.parametrize("slipped", ["kx204", "kx2o04b", "kx205b", "xk204b", "kx24b", "kx2204b"])
def test_one_slip_is_found(slipped):
    assert slipped in set(slips("kx204b"))


@pytest.mark.parametrize("other", ["kx20", "ky205b", "kx402b9"])
def test_two_slips_are_not(other):
    assert other not in set(slips("kx204b"))


def test_slips_in_kana_stay_in_kana():
    assert {"ポンフ", "ポソプカ", "ンポプカ"} & set(slips("ポンプカ")) == {"ポソプカ", "ンポプカ"}
    assert not any("a" in slip for slip in slips("ポンプカ"))


@pytest.mark.parametrize("text", ["abc", "", "x" * (LONGEST + 1)])
def test_slips_of_what_is_too_short_or_no_code_are_not_looked_for(text):
    assert not list(slips(text))


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("red KX-204B pump", ["kx-204b"]),
        ("ＫＸ－２０４Ｂのポンプ", ["kx-204b"]),
        ("KX-204B, KX-204C.", ["kx-204b", "kx-204c"]),
        ("a pump of 5 l", []),
        ("red pump", []),
    ],
)
def test_codes_are_found_inside_a_text(text, codes):
    assert named_in(text)[1:] == codes


def test_grams_hold_every_piece_of_a_japanese_word_and_latin_words_whole():
    assert grams("Blue ポンプ a1") == "·blue ポン ンプ プ a1 1"
    assert phrase("ンプ") == '"ンプ"'
    assert phrase("プ") == '"プ"*'
    assert phrase("blu") == '"·blu"*'
    assert phrase("204b") == '"20 04 4b"'


def test_single_letters_are_query_words_only_alone():
    assert query_words("a red 茶 cup") == ["red", "茶", "cup"]
    assert query_words("X") == ["x"]


def test_piece_shows_where_the_words_stand():
    text = "A long story about nothing at all. " * 3 + "The pump, KX-204B, is red."
    found = piece(text, ["kx204b"])
    assert found is not None
    assert "kx-204b" in found.casefold()
    assert found.startswith("…")
    assert found == "…story about nothing at all. The pump, KX-204B, is red."
    assert piece(text, ["pump"]) == "…A long story about nothing at all. The pump, KX-204B, is red."
    assert piece(text, ["long"]) == "A long story about nothing at all. A long story about nothing at all. A long…"
    assert piece("covered", ["red"]) is None
    assert piece("青いポンプ", ["ポンプ"]) == "青いポンプ"


@given(st.text(max_size=200))
def test_no_text_breaks_the_spelling(text):
    named_in(text), grams(text), list(map(phrase, query_words(text)))
    piece(text, query_words(text))


def test_a_megabyte_of_separators_takes_no_time():
    started = time.monotonic()
    named_in("a-" * 500_000)
    named_in("-" * 500_000 + "1")
    assert time.monotonic() - started < 5
