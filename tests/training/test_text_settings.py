"""The tokenizer belongs to the data: learned, kept in the checkpoint, and the same everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_data
from tiny import tiny_picture as picture

from entityclip.data import pairs
from entityclip.data.preprocessing import Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.errors import ConfigError
from entityclip.model import checkpoint
from entityclip.model.config import ExpertConfig, ModelConfig, TowerConfig
from entityclip.paths import CheckpointLayout, DataLayout, RunLayout
from entityclip.training import TrainConfig
from entityclip.training.config import run_key
from entityclip.training.text_settings import data_texts, settle_texts
from entityclip.training.trainer import fit

CONFIG = TrainConfig(
    model=ModelConfig(
        towers=TowerConfig(architecture="entityclip-tiny", mean_pool=True),
        experts=ExpertConfig(image=1, shared=1, text=1),
    ),
    preprocessing=Preprocessing(size=32),
    tokenisation=Tokenisation(learned=True, context=64),
    epochs=2,
    batch=5,
)
LONG = "丸くて赤い胴のやかんです。" + "取っ手は黒く、注ぎ口は短く、正面には星の形のラベルが貼られています。" * 12


def explained(data: DataLayout, text: str) -> DataLayout:
    """The same with another explanation of the first entity."""
    rows = list(pairs.iter_rows(data.explanations))
    rows[0]["text"] = text
    for shard in data.explanations.glob("*.parquet"):
        shard.unlink()
    pairs.write_rows(data.explanations, pairs.EXPLANATIONS, rows, name="explanations")
    return data


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> DataLayout:
    return explained(tiny_data(tmp_path_factory.mktemp("long")), LONG)


def trained(config: TrainConfig, data: DataLayout, root: Path) -> checkpoint.LoadedModel:
    run = RunLayout(root)
    fit(config, data=data, data_hash="d", run=run, report=lambda *_: None, progress=False)
    return checkpoint.load(run.checkpoint)


def test_the_text_tower_follows_the_tokenizer(long: DataLayout, tmp_path: Path) -> None:
    settled = settle_texts(CONFIG, long, folder=tmp_path)
    tokenizer, text = settled.tokenisation.load(), settled.model.towers.text_cfg
    assert text["vocab_size"] == tokenizer.vocabulary < 1300
    assert text["context_length"] == settled.tokenisation.context
    assert (text["pad_id"], text["eos_id"], text["pool_type"]) == (0, 2, "eos")
    assert settled.model.towers.architecture == "entityclip-tiny"


def test_the_context_holds_nearly_all_texts_up_to_a_bound(data: DataLayout, long: DataLayout, tmp_path: Path) -> None:
    short = settle_texts(CONFIG, data, folder=tmp_path / "short").tokenisation
    assert 16 <= short.context < 64
    assert all((short.load().lengths(texts) <= short.context).all() for texts in data_texts(data).values())
    assert settle_texts(CONFIG, long, folder=tmp_path / "long").tokenisation.context == 64


def test_a_checkpoint_holds_its_tokenizer_and_reads_long_texts_in_pieces(long: DataLayout, tmp_path: Path) -> None:
    model = trained(CONFIG, long, tmp_path / "run")
    assert set(model.card.text_sha256) == {"tokenizer.json", "tokenizer_config.json"}
    assert model.card.metrics["truncated_explanations"] == 0
    assert model.card.metrics["in_pieces_explanations"] > 0
    moved = CheckpointLayout((tmp_path / "run" / "checkpoint").rename(tmp_path / "elsewhere"))
    again = checkpoint.load(moved)
    pieces = again.tokenizer.pieces(LONG)
    assert len(pieces) > 1
    one, both = again.embed_texts([LONG])[0], again.embed_texts(["赤いやかん", LONG, "KX-RED"])
    mean = again.embed_texts(pieces).mean(axis=0)
    assert np.allclose(one, mean / np.linalg.norm(mean), atol=1e-6)
    assert np.allclose(both[1], one, atol=1e-5)
    assert both.shape == (3, model.dim)
    changed = again.embed_texts([LONG + "赤いやかん。" * 9])[0]
    assert not np.allclose(changed, one, atol=1e-4), "the end of a long text counts"


def test_a_killed_run_ends_as_an_unbroken_one(long: DataLayout, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def die(epoch: int, terms: dict[str, float]) -> None:
        raise Killed

    config = CONFIG.model_copy(update={"save_seconds": 0})
    whole, run = trained(config, long, tmp_path / "whole"), RunLayout(tmp_path / "killed")
    with pytest.raises(Killed):
        fit(config, data=long, data_hash="d", run=run, report=die, progress=False)
    assert trained(config, long, run.root).card.fingerprint == whole.card.fingerprint


@pytest.mark.slow
def test_exported_towers_read_the_same(long: DataLayout, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    from entityclip.evaluation.onnx_export import export
    from entityclip.model.onnx_runtime import on

    model = trained(CONFIG, long, tmp_path / "run")
    layout = RunLayout(tmp_path / "run").checkpoint.exported
    export(model, long, to=layout)
    texts = ["赤いやかん", LONG, "a red kettle", "𠮷"]
    assert np.allclose(on("onnx", model, layout).embed_texts(texts), model.embed_texts(texts), atol=1e-5)
    assert on("onnx", model, layout).embed_images([picture("red", 1)]).shape == (1, model.dim)


def test_texts_that_would_lose_their_end_are_refused(long: DataLayout, tmp_path: Path) -> None:
    cut = Tokenisation(context=12, long_texts="cut")
    config = CONFIG.model_copy(update={"tokenisation": cut})
    with pytest.raises(ConfigError, match=r"% of the explanations are longer than 12 tokens.*long_texts: pieces"):
        settle_texts(config, long, folder=tmp_path)
    accepted = cut.model_copy(update={"most_cut": 1.0})
    config = CONFIG.model_copy(update={"tokenisation": accepted})
    assert settle_texts(config, long, folder=tmp_path) == config


def test_a_pretrained_text_tower_keeps_its_tokenizer(data: DataLayout, tmp_path: Path) -> None:
    towers = TowerConfig(architecture="ViT-B-32", pretrained="openai")
    config = CONFIG.model_copy(update={"model": ModelConfig(towers=towers)})
    settled = settle_texts(config, data, folder=tmp_path / "never")
    assert settled.tokenisation == Tokenisation(context=77)
    assert settled.model == config.model
    assert not (tmp_path / "never").exists()


def test_other_texts_are_another_run() -> None:
    assert run_key(CONFIG, data_hash="a") != run_key(CONFIG, data_hash="b")


def test_training_draws_pieces(long: DataLayout, tmp_path: Path) -> None:
    from entityclip.training import batches

    settled = settle_texts(CONFIG, long, folder=tmp_path)
    training = batches.load_training_set(long, preprocessing=CONFIG.preprocessing, progress=False)
    how, drawn = batches.Preparation(settled.tokenisation.load(), settled.augmentation), set()
    for seed in range(20):
        draft = batches.prepare_batch(training, np.array([0]), how, generator=torch.Generator().manual_seed(seed))
        drawn.add(tuple(draft.explanations[0].tolist()))
    assert len(drawn) > 2
