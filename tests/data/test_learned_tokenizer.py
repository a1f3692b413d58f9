from __future__ import annotations

import random
from pathlib import Path

import pytest

from entityclip.data.learned_tokenizer import PIECES, learn_tokenizer, pieces_for
from entityclip.data.text import Tokenisation, Tokenizer

JAPANESE = [
    f"丸くて{colour}色の胴の{kind}です。取っ手は{part}色で、注ぎ口は短く、正面には{label}の形のラベルが貼られています。"
    "表面は無地で、落ち着いた艶があり、蓋のつまみは木でできています。食卓でも台所でも使いやすい大きさです。"
    for colour, part in (("赤", "黒"), ("白", "茶"), ("青", "灰"), ("緑", "白"), ("黄", "赤"))
    for kind in ("やかん", "急須", "水差し", "花瓶")
    for label in ("丸", "星")
]
ENGLISH = [f"A round {colour} kettle with a {part} handle." for colour in ("red", "blue") for part in ("long", "short")]


def learned(folder: Path, texts: list[str], *, context: int = 128) -> Tokenizer:
    learn_tokenizer(texts, folder)
    return Tokenisation(learned=True, context=context, folder=str(folder)).load()


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return learned(tmp_path_factory.mktemp("tokenizer"), JAPANESE + ENGLISH)


def words(read: Tokenizer, text: str) -> list[str]:
    return read._reader._tokenizer.convert_ids_to_tokens(read([text])[0].tolist())


def test_forty_of_forty_japanese_explanations_are_too_long_for_clip_and_none_is_now(read: Tokenizer) -> None:
    assert len(JAPANESE) == 40
    clip = Tokenisation(long_texts="cut").load()
    assert clip.truncated(JAPANESE).all()
    assert (read.lengths(JAPANESE) <= 77).all()


def test_words_of_both_languages_are_pieces(read: Tokenizer) -> None:
    assert {"急須", "取", "ラベル"} <= set(words(read, "急須の取っ手とラベル"))
    assert words(read, "Red KETTLE") == ["<s>", "red", "kettle", "</s>"]


def test_a_character_that_was_never_seen_is_its_bytes(read: Tokenizer) -> None:
    assert words(read, "𠮷") == ["<s>", "<0xF0>", "<0xA0>", "<0xAE>", "<0xB7>", "</s>"]
    assert read.lengths(["Ω≈ç√ 🙂 한국어"])[0] > 10


def test_digits_stand_alone(read: Tokenizer) -> None:
    assert words(read, "204")[1:-1] == [f"<0x{ord(digit):02X}>" for digit in "204"]


def test_marks_and_vocabulary(read: Tokenizer) -> None:
    assert (read.pad, read.end) == (0, 2)
    ids = read(["やかん", JAPANESE[0]])
    assert ids.max() < read.vocabulary <= PIECES[0] + 259
    assert ids[0, 0] == 1
    assert ids[0, -1] == 0
    assert (ids == 2).sum(dim=1).tolist() == [1, 1]


def test_the_same_texts_in_any_order_give_the_same_files(tmp_path: Path) -> None:
    texts = JAPANESE + ENGLISH
    learn_tokenizer(texts, tmp_path / "a")
    learn_tokenizer(random.Random(1).sample(texts, len(texts)) + ENGLISH, tmp_path / "b")
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["tokenizer.json", "tokenizer_config.json"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_of_no_texts_bytes_remain(tmp_path: Path) -> None:
    assert learned(tmp_path, []).lengths(["abc"]).tolist() == [5]


def test_the_vocabulary_grows_with_the_texts() -> None:
    assert [pieces_for(count) for count in (0, 100_000, 10**9)] == [1000, 2500, 8000]
