"""Checkpoints on disk, and a loaded model's vectors."""

from __future__ import annotations

import json
import pickle
import shutil
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_architectures import ROBERTA, architecture, hugging_face_text, write_tokenizer
from tiny import COLOURS, tiny_model, tiny_picture

from bentos.runtime.batching import BatchedModel
from entityclip.data.preprocessing import Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.errors import CheckpointError
from entityclip.model import checkpoint
from entityclip.model.checkpoint import LoadedModel, _received
from entityclip.model.checkpoint_card import copy_checkpoint, file_sha256, read_card
from entityclip.model.config import ModelConfig, TowerConfig
from entityclip.model.entityclip import EntityCLIP
from entityclip.paths import CheckpointLayout
from entityclip.schemas.mixture import Mixture

PICTURED = Mixture(caption=0.2, explanation=0.3, images=0.5)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny_model(tmp_path_factory.mktemp("model"))


# ---------------------------------------------------------------- vectors
def test_pictures_are_squared_as_they_come_and_none_is_kept(model: LoadedModel) -> None:
    drawn: list[weakref.ref[Image.Image]] = []
    alive: list[int] = []

    def pictures() -> Iterator[Image.Image]:
        for number in range(10):
            picture = tiny_picture("red", number)
            drawn.append(weakref.ref(picture))
            alive.append(sum(ref() is not None for ref in drawn))
            yield picture

    assert model.embed_images(pictures(), batch=4).shape == (10, model.dim)
    assert max(alive) <= 2


def test_vectors_do_not_depend_on_the_batch(model: LoadedModel) -> None:
    pictures = [tiny_picture(colour, i) for i, colour in enumerate(COLOURS)]
    texts = [f"a {colour} disc" for colour in COLOURS]
    assert model.embed_images(pictures, batch=4) == pytest.approx(model.embed_images(pictures), abs=1e-5)
    assert model.embed_texts(texts, batch=4) == pytest.approx(model.embed_texts(texts), abs=1e-5)
    assert np.linalg.norm(model.embed_images(pictures), axis=1) == pytest.approx(1, abs=1e-5)


def test_of_nothing_there_are_no_vectors(model: LoadedModel) -> None:
    assert model.embed_images([]).shape == model.embed_texts([]).shape == (0, model.dim)


# ---------------------------------------------------------------- fingerprint
@pytest.mark.parametrize("same", [{"mixture": {"few": PICTURED}}, {"thresholds": {"0.9": 0.3}}, {"data_hash": "other"}])
def test_what_is_learned_about_a_model_does_not_make_another(tmp_path: Path, model: LoadedModel, same: Any) -> None:
    assert tiny_model(tmp_path, **same).card.fingerprint == model.card.fingerprint


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"preprocessing": Preprocessing(size=48)}, {"tokenisation": Tokenisation(context=16)}]
)
def test_whatever_moves_the_vectors_makes_another_model(tmp_path: Path, model: LoadedModel, change: Any) -> None:
    assert tiny_model(tmp_path, **change).card.fingerprint != model.card.fingerprint


# ---------------------------------------------------------------- on disk
def test_a_save_that_was_killed_leaves_no_card(tmp_path: Path, model: LoadedModel, monkeypatch: Any) -> None:
    layout = CheckpointLayout(tmp_path)
    tiny_model(tmp_path)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_tensors", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(layout, model.model)
    with pytest.raises(CheckpointError, match="half-written"):
        checkpoint.load(layout)


def test_a_card_of_another_version_is_refused(tmp_path: Path) -> None:
    layout = CheckpointLayout(tmp_path)
    tiny_model(tmp_path)
    layout.card.write_text('{"fingerprint": "x"}')
    with pytest.raises(CheckpointError, match="not a checkpoint card of this version"):
        read_card(layout)


@pytest.mark.parametrize("spoil", [lambda b: b[:100], lambda b: b[:0], lambda b: b[:-1] + b"x"])
def test_weights_that_changed_are_refused(tmp_path: Path, spoil: Any) -> None:
    layout = CheckpointLayout(tmp_path)
    tiny_model(tmp_path)
    layout.weights.write_bytes(spoil(layout.weights.read_bytes()))
    with pytest.raises(CheckpointError, match="not the weights"):
        checkpoint.load(layout)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    layout = CheckpointLayout(tmp_path)
    card = tiny_model(tmp_path).card
    tensors = load_file(layout.weights)
    tensors.popitem()
    checkpoint.save_tensors(layout.weights, tensors)
    sha = file_sha256(layout.weights)
    card.model_copy(update={"weights_sha256": sha}).write(layout.card)
    with pytest.raises(CheckpointError, match="does not fit the architecture"):
        checkpoint.load(layout)


# ---------------------------------------------------------------- Hugging Face
def hugging_face_model(root: Path, files: Path) -> LoadedModel:
    """A model whose texts are read by what lies in ``files``, saved to ``root`` and loaded from there."""
    content = architecture(text=hugging_face_text())
    (files / "mine.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    model = EntityCLIP(ModelConfig(towers=TowerConfig(architecture=str(files / "mine.json"), text_folder=str(files))))
    card: dict[str, Any] = {"data_hash": "data", "config": {}, "code_hash": "code", "epochs": 0, "metrics": {}}
    tokenisation = Tokenisation(tokenizer=str(files / "mine.json"), folder=str(files), context=12)
    how = {"preprocessing": Preprocessing(size=32), "tokenisation": tokenisation}
    checkpoint.save(CheckpointLayout(root), model, **(card | how))
    return checkpoint.load(CheckpointLayout(root))


def encoder_files(folder: Path) -> Path:
    ROBERTA.save_pretrained(folder)
    return write_tokenizer(folder, ["a blue kettle"])


def test_a_checkpoint_is_enough_to_read_texts_wherever_it_is_copied(tmp_path: Path) -> None:
    files = encoder_files(tmp_path / "files")
    saved = hugging_face_model(tmp_path / "saved", files)
    vectors = saved.embed_texts(["a kettle", "青いやかん"])
    shutil.rmtree(files)
    copy_checkpoint(CheckpointLayout(tmp_path / "saved"), CheckpointLayout(tmp_path / "copied"))
    shutil.rmtree(tmp_path / "saved")
    copied = checkpoint.load(CheckpointLayout(tmp_path / "copied"))
    assert np.array_equal(copied.embed_texts(["a kettle", "青いやかん"]), vectors)
    everything = b"".join(path.read_bytes() for path in (tmp_path / "copied").rglob("*.json"))
    assert str(tmp_path).encode() not in everything


def test_where_the_files_of_a_tokenizer_lay_does_not_make_another_model(tmp_path: Path) -> None:
    made = [hugging_face_model(tmp_path / n, encoder_files(tmp_path / f"files {n}")).card for n in ("a", "b")]
    assert made[0].text_sha256.keys() >= {"config.json", "tokenizer.json"}
    assert made[0].fingerprint == made[1].fingerprint


def test_another_tokenizer_makes_another_model(tmp_path: Path) -> None:
    own = hugging_face_model(tmp_path / "own", encoder_files(tmp_path / "files"))
    write_tokenizer(tmp_path / "files", ["something else was read here, over and over and over"])
    other = hugging_face_model(tmp_path / "other", tmp_path / "files")
    assert own.card.fingerprint != other.card.fingerprint
    assert own.card.weights_sha256 == other.card.weights_sha256


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_text_files_that_changed_are_refused(tmp_path: Path, name: str) -> None:
    hugging_face_model(tmp_path / "saved", encoder_files(tmp_path / "files"))
    layout = CheckpointLayout(tmp_path / "saved")
    (layout.text / name).write_text((layout.text / name).read_text().replace("1", "2", 1))
    with pytest.raises(CheckpointError, match="text tower and tokenizer"):
        checkpoint.load(layout)
    shutil.rmtree(layout.text)
    with pytest.raises(CheckpointError, match="text tower and tokenizer"):
        checkpoint.load(layout)


def test_a_model_travels_as_its_folder_with_the_mixture_that_it_has(tmp_path: Path) -> None:
    model = tiny_model(tmp_path)
    sent = replace(model, card=model.card.model_copy(update={"mixture": {"none": PICTURED}}))
    packed = pickle.dumps(sent)
    assert len(packed) < 10_000  # no weights
    received = pickle.loads(packed)
    assert received.card == sent.card
    assert received.embed_texts(["a kettle"]).tobytes() == model.embed_texts(["a kettle"]).tobytes()
    tiny_model(tmp_path, seed=1)
    with pytest.raises(CheckpointError, match="wanted"):
        _received(CheckpointLayout(tmp_path), "cpu", model.card.model_copy(update={"fingerprint": "another"}))


def test_a_model_of_another_kind_stays_in_its_process(tmp_path: Path) -> None:
    model = tiny_model(tmp_path)
    for kept in (BatchedModel.of(model), replace(model, place=None)):
        with pytest.raises(TypeError, match="stays in its process"):
            pickle.dumps(kept)
