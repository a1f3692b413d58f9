"""Pretrained towers get the pictures and ids that they were trained with, or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
from safetensors.torch import save_file
from small_architectures import RESNET, ROBERTA, TEXT, TEXT_TOWERS, architecture, hugging_face_text, write_tokenizer

from entityclip.data.preprocessing import Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.errors import ConfigError
from entityclip.model.compatibility import expected_preprocessing, expected_tokenisation, require_fit
from entityclip.model.config import TowerConfig
from entityclip.model.towers import Towers

SIGLIP = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", "squash")
OPENAI = (Preprocessing().mean, Preprocessing().std, "bicubic", "shortest")


def fields(made: Preprocessing | None) -> tuple[Any, ...] | None:
    return made and (made.mean, made.std, made.interpolation, made.resize)


# ---------------------------------------------------------------- what they expect
@pytest.mark.parametrize(
    ("architecture", "pretrained", "size", "expected"),
    [
        ("ViT-B-32-quickgelu", "openai", 224, OPENAI),
        ("ViT-B-16-SigLIP-256", "webli", 256, SIGLIP),
        ("MobileCLIP-S1", "datacompdr", 256, ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear", "shortest")),
        ("ViT-B-16-SigLIP", "copied.safetensors", 224, SIGLIP),  # a plain file: all tags say the same
    ],
)
def test_tags_say_what_towers_were_fed_with(architecture: str, pretrained: str, size: int, expected: Any) -> None:
    made = expected_preprocessing(TowerConfig(architecture=architecture, pretrained=pretrained))
    assert made is not None
    assert (made.size, fields(made)) == (size, expected)


@pytest.mark.parametrize(("architecture", "pretrained"), [("ViT-B-32", None), ("ViT-L-14", "copied.safetensors")])
def test_without_a_known_preprocessing_nothing_is_expected(architecture: str, pretrained: str | None) -> None:
    assert expected_preprocessing(TowerConfig(architecture=architecture, pretrained=pretrained)) is None


def folder_of(tmp_path: Path, **preprocess: Any) -> TowerConfig:
    """A folder as it is downloaded: settings, preprocessing, weights."""
    content = {"model_cfg": architecture(), "preprocess_cfg": preprocess}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    save_file(open_clip.CustomTextCLIP(**architecture()).state_dict(), tmp_path / "open_clip_model.safetensors")
    return TowerConfig(architecture=str(tmp_path), pretrained=str(tmp_path))


def test_a_folder_names_the_preprocessing_of_its_towers(tmp_path: Path) -> None:
    config = folder_of(tmp_path, mean=[0.5] * 3, std=[0.5] * 3, interpolation="bicubic", resize_mode="squash")
    assert fields(expected_preprocessing(config)) == SIGLIP


def test_a_preprocessing_that_is_not_done_here_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="resize"):
        expected_preprocessing(folder_of(tmp_path, resize_mode="longest"))


def test_expected_texts_are_as_long_as_the_tower_reads(tmp_path: Path) -> None:
    assert expected_tokenisation(TowerConfig(architecture="ViT-B-32")) == Tokenisation(context=77)
    siglip = expected_tokenisation(TowerConfig(architecture="ViT-B-16-SigLIP", text_folder=str(tmp_path)))
    assert siglip == Tokenisation(tokenizer="ViT-B-16-SigLIP", folder=str(tmp_path), context=64)


# ---------------------------------------------------------------- pictures
def refused(towers: Towers, *, preprocessing: Preprocessing, tokenisation: Tokenisation) -> str:
    with pytest.raises(ConfigError) as caught:
        require_fit(towers, preprocessing=preprocessing, tokenizer=tokenisation.load())
    return str(caught.value)


def test_another_preprocessing_than_the_weights_were_trained_with_is_refused_field_by_field(tmp_path: Path) -> None:
    config = folder_of(tmp_path, mean=[0.5] * 3, std=[0.5] * 3, interpolation="bicubic", resize_mode="squash")
    towers, tokenisation = Towers(config), Tokenisation(context=12)
    expected = expected_preprocessing(config)
    assert expected is not None
    require_fit(towers, preprocessing=expected, tokenizer=tokenisation.load())
    message = refused(towers, preprocessing=Preprocessing(size=48), tokenisation=tokenisation)
    for wrong in ("size is 48", "preprocessing.mean", "preprocessing.std", "resize is shortest"):
        assert wrong in message
    assert "interpolation" not in message


def test_from_scratch_any_colours_do_but_not_any_size() -> None:
    towers, tokenisation = Towers(TowerConfig(architecture=architecture(vision=RESNET))), Tokenisation(context=12)
    require_fit(towers, preprocessing=Preprocessing(size=64, mean=(0, 0, 0)), tokenizer=tokenisation.load())
    assert "only 64 pixels" in refused(towers, preprocessing=Preprocessing(size=96), tokenisation=tokenisation)


# ---------------------------------------------------------------- texts
@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Config and tokenizer of a small Hugging Face text tower, in one folder."""
    folder = tmp_path_factory.mktemp("encoder")
    ROBERTA.save_pretrained(folder)
    return write_tokenizer(folder, ["a blue kettle"])


SIZE = Preprocessing(size=32)


def test_texts_beyond_the_positions_are_refused_with_both_numbers() -> None:
    towers = Towers(TowerConfig(architecture=architecture()))
    message = refused(towers, preprocessing=SIZE, tokenisation=Tokenisation(context=13))
    assert "context is 13" in message
    assert "12 positions" in message


def test_a_hugging_face_tower_fits_its_own_tokenizer_and_no_other(encoder: Path) -> None:
    content = architecture(text=hugging_face_text())
    towers = Towers(TowerConfig(architecture=content, text_folder=str(encoder)))
    own = Tokenisation(tokenizer=content, folder=str(encoder), context=12)
    require_fit(towers, preprocessing=SIZE, tokenizer=own.load())
    message = refused(towers, preprocessing=SIZE, tokenisation=Tokenisation(context=12))
    assert "49408 ids" in message
    assert "pads with id 0, but the text tower skips id 1" in message


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("clip", "set text_cfg.pool_type 'eos' and eos_id 2"),
        ("end of text", None),
        ("siglip", None),
        ("first", "text_cfg.pad_id is 0"),
    ],
)
def test_the_tower_is_read_where_the_tokenizer_ends_a_text(encoder: Path, kind: str, expected: str | None) -> None:
    text = TEXT_TOWERS[kind] | {"vocab_size": 120}
    towers, tokenisation = Towers(TowerConfig(architecture=architecture(text=text))), Tokenisation(folder=str(encoder))
    tokenisation = tokenisation.model_copy(update={"context": 12})
    if expected is None:
        require_fit(towers, preprocessing=SIZE, tokenizer=tokenisation.load())
    else:
        assert expected in refused(towers, preprocessing=SIZE, tokenisation=tokenisation)


def test_pretrained_towers_refuse_another_tokenizer_even_where_its_ids_would_pass(
    encoder: Path, tmp_path: Path
) -> None:
    text = TEXT | {"pool_type": "eos", "eos_id": 2, "hf_tokenizer_name": "somebody/encoder"}
    content = architecture(text=text)
    save_file(open_clip.CustomTextCLIP(**content).state_dict(), tmp_path / "clip.safetensors")
    towers = Towers(TowerConfig(architecture=content, pretrained=str(tmp_path / "clip.safetensors")))
    message = refused(towers, preprocessing=SIZE, tokenisation=Tokenisation(folder=str(encoder), context=12))
    assert "somebody/encoder" in message
    assert "ids, but the weights are for 49408" in message
