from __future__ import annotations

import pytest
import torch

from entityclip.text import Tokenisation, mask_names

GONE = "this product"


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("KX-204B", "KX-204B"),
        ("KX-204B", "kx-204b"),
        ("KX-204B", "ＫＸ－２０４Ｂ"),
        ("KX-204B", "KX 204B"),
        ("KX-204B", "KX204B"),
        ("KX-204B", "KX204-B"),
        ("KX-204B", "KX.204B"),
        ("KX-204B", "KX/204B"),
        ("KX-204B", "KX−204B"),
        ("KX204B", "KX-204B"),
        ("Marlo Venta", "marlo  venta"),
        ("Marlo Venta", "Marlo-Venta"),
        ("ベル・ソラ", "ベルソラ"),
        ("ベルソラ", "ベルソラ"),
        ("ベル・ソラ", "ﾍﾞﾙ･ｿﾗ"),
    ],
)
def test_a_name_is_masked_in_every_spelling(name: str, spelling: str) -> None:
    assert mask_names(f"See {spelling}: a blue kettle.", [name]) == f"See {GONE}: a blue kettle."


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("KX-204B", "KX-204BX is another one"),
        ("KX-204B", "AKX-204B is another one"),
        ("Rose", "roses and prose"),
        ("ソラ", "ソラマメの色"),
        ("茶", "茶色のやかん"),
        ("-", "A round blue kettle. 丸い青いやかん"),
        ("", "A round blue kettle."),
    ],
)
def test_what_is_not_the_name_stays(name: str, text: str) -> None:
    assert mask_names(text, [name]) == text


def test_a_japanese_name_is_masked_inside_a_sentence() -> None:
    assert mask_names("ベル・ソラは青いやかんです。", ["ベル・ソラ"]) == f"{GONE}は青いやかんです。"


def test_the_longest_name_goes_first() -> None:
    assert mask_names("Marlo Venta KX-204B, by Marlo", ["Marlo", "Marlo Venta KX-204B"]) == f"{GONE}, by {GONE}"


def test_without_names_a_text_is_only_normalised() -> None:
    assert mask_names("Ｂｌｕｅ kettle", []) == "Blue kettle"


# ---------------------------------------------------------------- tokens
def test_texts_are_cut_to_the_longest_of_the_call_and_keep_their_end() -> None:
    ids = Tokenisation().load()(["KX-204B", "a"])
    assert ids.shape[1] < 12
    assert (ids.max(dim=1).values == 49407).all()


@pytest.mark.parametrize("text", ["新発売！」", "now! / then", "!!!", "!/ !;"])
def test_an_exclamation_mark_is_no_padding(text: str) -> None:
    alone, beside = (Tokenisation().load()(texts)[0] for texts in ([text], [text, "a much longer text " * 8]))
    assert alone[-1] == 49407
    assert torch.equal(alone, beside[: len(alone)])


def test_a_text_that_is_too_long_keeps_its_end_mark() -> None:
    ids = Tokenisation(context=8).load()(["kettle " * 50])
    assert ids.shape == (1, 8)
    assert ids[0, -1] == 49407


def test_width_does_not_change_the_tokens() -> None:
    ids = Tokenisation().load()(["ＫＸ－２０４Ｂ", "KX-204B"])
    assert torch.equal(ids[0], ids[1])
