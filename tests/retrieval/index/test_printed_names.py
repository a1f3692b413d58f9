"""A printed name is found in its line, and a misread character is seen through."""

from __future__ import annotations

import pandas as pd
import pytest

from entityclip.retrieval.index import FullText
from entityclip.retrieval.index.spelling import codes_in, key, misreadings, printed_in, shape


@pytest.fixture(scope="module")
def text() -> FullText:
    names = {"KX-204B": [], "SB-815": ["オーロラカップ"], "PT-9": ["ロボット掃除機"], "Milk": []}
    rows = [{"entity_id": f"id of {n}", "entity": n, "aliases": a, "explanation": ""} for n, a in names.items()]
    return FullText.create(pd.DataFrame(rows), None)


def printed(text: FullText, line: str) -> list[str]:
    return [found.spelt for found in text.printed(line)]


def misread(text: FullText, line: str, *, slips: bool = False) -> list[str]:
    return [found.spelt for found in text.misread(line, slips=slips)]


@pytest.mark.parametrize("line", ["KX-204B", "型番：ＫＸ－２０４Ｂ", "model kx-204b, 220 V", "(KX-204B)"])
def test_a_code_is_found_anywhere_in_its_line(text, line):
    assert printed(text, line) == ["KX-204B"]


@pytest.mark.parametrize("line", ["オーロラカップ", "商品名：ｵｰﾛﾗｶｯﾌﾟ", "【オーロラカップ】350ml"])
def test_a_name_is_found_as_a_line_or_as_a_part_of_one(text, line):
    assert printed(text, line) == ["オーロラカップ"]


def test_a_word_that_is_a_name_is_not_found_inside_another_name(text):
    assert printed(text, "Milk chocolate") == []
    assert printed(text, "milk") == ["Milk"]


@pytest.mark.parametrize("line", ["KX-2O4B", "KX 204 B", "KX-2048", "KX-Z04B", "KX-2O48"])
def test_look_alike_characters_are_seen_through(text, line):
    assert printed(text, line) == []
    assert misread(text, line) == ["KX-204B"]


@pytest.mark.parametrize("line", ["5B-8I5", "S8-815", "58-815"])
def test_several_of_them_are(text, line):
    assert misread(text, line) == ["SB-815"]


@pytest.mark.parametrize("line", ["口ボット掃除機", "ロボツト掃除機", "ロボト掃除機"])
def test_kanji_in_place_of_katakana_small_kana_and_a_lost_character_are_seen_through(text, line):
    assert misread(text, line) == ["ロボット掃除機"]


def test_a_digit_that_was_surely_read_makes_another_code(text):
    assert misread(text, "KX-205B") == []
    assert misread(text, "KX-205B", slips=True) == ["KX-204B"]


def test_what_stands_in_a_line():
    assert codes_in("KX-204B 100V made in 日本") == ["kx-204b", "100v"]
    assert codes_in("オーロラカップ") == []
    assert printed_in("商品名：カップ") == ["商品名:カップ", "商品名", "カップ"]
    assert shape("KX-204B") == "aa999a"
    assert shape("カップ") == ""
    assert misreadings("KX-204B")[0] == key("KX-204B")
    assert len(misreadings("0O1IL2Z5S6G8B" * 3)) <= 512
