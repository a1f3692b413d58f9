"""Codes, names and texts are found by any piece of them, in Japanese too, from one character on."""

import sqlite3

import pandas as pd
import pytest

from entityclip.errors import DataError
from entityclip.retrieval.index.fulltext import MOST_FOUND, FullText

ENTITIES = pd.DataFrame(
    {
        "entity_id": ["pump", "cup", "kettle", "tea"],
        "entity": ["KX-204B", "湯呑茶碗", "ステンレスケトル", "Covered dish"],
        "aliases": [["Blue pump", "青いポンプ"], [], ["SK-1000", "Steel kettle"], ["茶"]],
        "explanation": ["It has a red lid.", "白くて丸い。", "銀色の注ぎ口がある。", "A white plate under a lid."],
    }
)
PICTURES = pd.DataFrame(
    {
        "pair_id": ["p1", "p2"],
        "entity_id": ["pump", "cup"],
        "entity": ["KX-204B", "湯呑茶碗"],
        "caption": ["KX-204B", "Seen in Kyoto, 京都の店"],
    }
)


@pytest.fixture(scope="module")
def text() -> FullText:
    return FullText.create(ENTITIES, PICTURES)


@pytest.mark.parametrize(
    "query", ["KX-204B", "kx-204b", "ＫＸ－２０４Ｂ", "the KX-204B, please", "blue PUMP", "青いポンプ"]
)
def test_name_or_code_in_full_is_exact(text, query):
    assert [(n.entity_id, n.near) for n in text.named(query)] == [("pump", False)]


@pytest.mark.parametrize("query", ["KX204B", "KX-2O4B", "KX-205B", "XK-204B", "KX-204", "KX-2044B", "red KX-204C lid"])
def test_code_that_is_one_slip_away_is_near_and_not_exact(text, query):
    assert not text.named(query)
    assert [(n.entity_id, n.spelt, n.near) for n in text.nearly(query)] == [("pump", "KX-204B", True)]


@pytest.mark.parametrize("query", ["ステンレスケトノレ", "something else", "KX-999Z"])
def test_what_is_further_away_is_not_near(text, query):
    assert not text.nearly(query)


def test_japanese_name_with_a_slip_is_near(text):
    assert [n.entity_id for n in text.nearly("ステソレスケトル")] == ["kettle"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("茶", {"cup", "tea"}),
        ("茶碗", {"cup"}),
        ("ケトル", {"kettle"}),
        ("ｹﾄﾙ", {"kettle"}),
        ("204", {"pump"}),
        ("KX-20", {"pump"}),
        ("1000", {"kettle"}),
        ("kettle steel", {"kettle"}),
        ("kett", {"kettle"}),
        ("over", set()),
        ("pump kettle", set()),
        ("zebra", set()),
    ],
)
def test_piece_of_a_name_is_found(text, query, found):
    assert {entity for entity, _ in text.holding(query, column="names")} == found


def test_texts_and_captions_are_apart_from_names(text):
    assert text.holding("red lid", column="texts") == [("pump", "")]
    assert text.holding("京都", column="texts") == [("cup", "p2")]
    assert text.holding("口", column="texts") == [("kettle", "")]
    assert not text.holding("KX-204B", column="texts")


@pytest.mark.parametrize(
    "query", ['"', "*", "AND OR NOT", "a:b", "^x", "()", "\0", "  ", "🫖", "NEAR(a b)", "x" * 10**6]
)
def test_no_question_is_an_error(text, query):
    text.named(query), text.nearly(query)
    assert not text.holding(query, column="names")


def test_words_of_nearly_all_texts_say_nothing():
    many = pd.DataFrame({"entity_id": [f"e{i}" for i in range(MOST_FOUND + 1)], "explanation": "a lid"})
    text = FullText.create(many.assign(entity="lid 茶", aliases=[[]] * len(many)), None)
    assert not text.holding("lid", column="texts")
    assert len(text.holding("茶", column="names")) == MOST_FOUND


def test_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "index" / "text.sqlite"
    for _ in range(2):
        text = FullText.create(ENTITIES, PICTURES, path=path)
    assert [n.entity_id for n in text.named("SK-1000")] == ["kettle"]
    assert [p.name for p in path.parent.iterdir()] == ["text.sqlite"]
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="build the index again"):
        FullText.open(path)
    with pytest.raises(DataError, match="build the index again"):
        FullText.open(tmp_path / "none.sqlite")


def test_dropped_entity_is_found_no_more_and_comes_back():
    connection = sqlite3.connect(":memory:")
    FullText.prepare(connection)
    text = FullText(connection)
    for names in (["A-1000"], ["B-2000"]):
        text.drop("x")
        text.put("x", names=names, texts=["lid"])
    assert not text.named("A-1000")
    assert text.holding("1000", column="names") == []
    assert text.holding("2000", column="names") == text.holding("lid", column="texts") == [("x", "")]
