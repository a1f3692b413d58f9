from __future__ import annotations

import pandas as pd

from entityclip.quality.bias import attributes, sentiment

TEXTS = pd.DataFrame(
    {
        "text": ["A lovely elegant lamp in red."] * 30 + ["A shabby kettle in blue."] * 30 + ["美しい急須です。"] * 20,
        "kind": ["lamp"] * 30 + ["kettle"] * 30 + ["teapot"] * 20,
    }
)


def test_groups_that_are_praised_or_blamed_stand_apart() -> None:
    table = sentiment(TEXTS, by=TEXTS["kind"]).set_index("group")
    assert table.loc["lamp", ["texts", "praise", "blame"]].tolist() == [30, 1, 0]
    assert table.loc["kettle", ["praise", "blame"]].tolist() == [0, 1]
    assert table.loc["teapot", "praise"] == 1
    assert table.loc["kettle", "apart"] < -3 < 3 < table.loc["lamp", "apart"]


def test_words_of_one_group_are_its_attributes() -> None:
    words = attributes(TEXTS, by=TEXTS["kind"], most=10)
    assert {"lamp", "red", "elegant"} <= set(words.loc[words["group"] == "lamp", "word"])
    assert "lovely" not in set(words.loc[words["group"] != "lamp", "word"])
    assert (words["share"] > words["elsewhere"]).all()


def test_one_group_or_no_text_has_nothing_apart() -> None:
    assert attributes(TEXTS, by=pd.Series("all", index=TEXTS.index)).empty
    assert sentiment(TEXTS[:0], by=TEXTS["kind"][:0]).empty
    assert attributes(TEXTS[:0], by=TEXTS["kind"][:0]).empty
