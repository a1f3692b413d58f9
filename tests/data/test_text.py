from __future__ import annotations

import pickle
import unicodedata
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.tokenizer import HFTokenizer
from small_architectures import architecture, hugging_face_text, write_tokenizer

from entityclip.data import text
from entityclip.data.text import Tokenisation, mask_names
from entityclip.errors import ConfigError

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


def test_texts_are_padded_to_the_next_length_of_a_few() -> None:
    read = Tokenisation(context=24).load(lengths=(8, 16, 48))
    texts = ["kettle", "kettle " * 6, "kettle " * 7, "kettle " * 15, "kettle " * 99]
    assert [read([text]).shape[1] for text in texts] == [8, 8, 16, 24, 24]
    short = Tokenisation(context=24).load()(["kettle"])
    padded = read(["kettle"])
    assert torch.equal(padded[:, : short.shape[1]], short)
    assert (padded[:, short.shape[1] :] == read.pad).all()


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


def test_ids_are_those_of_open_clip() -> None:
    texts = ["KX-204B", "A kettle, in red &amp; white!", "やかん", "", "kettle " * 100]
    ids = Tokenisation().load()(texts)
    assert torch.equal(ids, open_clip.SimpleTokenizer()(texts)[:, : ids.shape[1]])


def test_made_up_words_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_REMEMBERED", 3)
    known = text._Words({"a": "a</w>"})
    for word in ("kettle", "kettel", "ketle", "kettle"):
        known[word] = word
    assert list(known) == ["a", "kettle", "kettel"]
    assert isinstance(Tokenisation().load()._reader._bpe.cache, text._Words)


def test_of_no_text_there_are_no_ids() -> None:
    assert Tokenisation().load()([]).shape == (0, 1)


def test_truncated_texts_are_distinguished() -> None:
    read = Tokenisation(context=8, long_texts="cut").load()
    assert read.truncated(["kettle " * 6, "kettle " * 7, ""]).tolist() == [False, True, False]
    assert read.truncated([]).tolist() == []
    assert not Tokenisation(context=8).load().truncated(["kettle " * 7]).any()


# ---------------------------------------------------------------- long texts
def test_a_long_text_is_divided_behind_sentences() -> None:
    read = Tokenisation(context=9).load()
    text = "It has a round body. The handle is black. A short spout points left. The lid is flat!"
    pieces = read.pieces(text)
    assert pieces == ["It has a round body.", "The handle is black.", "A short spout points left.", "The lid is flat!"]
    assert (read.lengths(pieces) <= 9).all()
    assert read.pieces("It has a round body.") == ["It has a round body."]


def test_a_japanese_text_is_divided_behind_sentences() -> None:
    read = Tokenisation(context=60).load()
    text = "丸くて赤い胴のやかんです。取っ手は黒く、注ぎ口は短いです。「大きい」と言われます。"
    pieces = read.pieces(text)
    assert "".join(pieces) == text
    assert all(piece.endswith("。") for piece in pieces)
    assert (read.lengths(pieces) <= 60).all()


@pytest.mark.parametrize("text", ["kettle " * 50, "x" * 500, "赤" * 90, "㍿" * 40, " " * 99 + "a"])
def test_whatever_the_text_no_piece_is_too_long_and_nothing_is_lost(text: str) -> None:
    read = Tokenisation(context=12).load()
    pieces = read.pieces(text)
    assert (read.lengths(pieces) <= 12).all()
    assert "".join("".join(pieces).split()) == "".join(unicodedata.normalize("NFKC", text).split())


def test_settings_may_cut_long_texts() -> None:
    assert Tokenisation(context=8, long_texts="cut").load().pieces("kettle " * 50) == ["kettle " * 50]


def test_a_tokenizer_that_is_not_learned_yet_is_refused() -> None:
    with pytest.raises(ConfigError, match="learned from the data when training begins"):
        Tokenisation(learned=True).load()


# ---------------------------------------------------------------- Hugging Face
@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"), ["a blue kettle", "丸い青いやかん"])


def of(files: Path, *, context: int = 40, **text: object) -> Tokenisation:
    content = architecture(text=hugging_face_text(**text))
    return Tokenisation(tokenizer=content, folder=str(files), context=context)


@pytest.mark.parametrize("options", [{}, {"clean": "canonicalize"}, {"strip_sep_token": True}])
def test_a_hugging_face_tokenizer_gives_the_ids_of_open_clip(files: Path, options: dict[str, object]) -> None:
    texts = ["A blue kettle!", "青いやかん", "", "kettle " * 30]
    read = of(files, tokenizer_kwargs=options).load()
    full = HFTokenizer(str(files), **options)(texts, context_length=40)
    ids = read(texts)
    assert ids.shape == (4, 40)
    assert torch.equal(ids, full)
    assert torch.equal(read(texts[:1])[0], full[0, : read(texts[:1]).shape[1]])
    assert (read.pad, read.end) == (1, 2)
    assert (read.lengths(texts) > 40).tolist() == [False, False, False, True]


def test_a_kept_tokenizer_reads_as_before(files: Path, tmp_path: Path) -> None:
    texts = ["A blue kettle, KX-204B", "丸い青いやかん 2.5L"]
    of(files).load().save(tmp_path)
    assert torch.equal(of(tmp_path).load()(texts), of(files).load()(texts))


def test_tokenizers_travel_to_other_processes(files: Path) -> None:
    for read in (of(files).load(), Tokenisation().load()):
        assert torch.equal(pickle.loads(pickle.dumps(read))(["a kettle"]), read(["a kettle"]))


@pytest.mark.parametrize("content", [None, "{}", "rubbish", '{"model": {"type": "none"}}'])
def test_a_folder_without_a_whole_tokenizer_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ConfigError, match=r"cannot be loaded|with a padding token"):
        of(tmp_path).load()


def test_a_tokenizer_that_is_neither_here_nor_in_the_cache_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="somebody/encoder"):
        of(Path("unused")).model_copy(update={"folder": None}).load()
    with pytest.raises(ConfigError, match="nowhere"):
        of(Path("nowhere")).load()


@pytest.mark.parametrize("text", [{"tokenizer_mode": "clips"}, {"tokenizer_kwargs": {"reduction_mask": "random"}}])
def test_a_way_of_reading_that_is_not_known_here_is_refused(files: Path, text: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="not supported"):
        of(files, **text).load()
