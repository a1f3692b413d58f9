"""A run that starts from files of one's own: a small CLIP of Hugging Face, whole, offline, and a tower of timm."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file
from small_clip import write_clip
from tiny import tiny_picture

from entityclip.data.preprocessing import Preprocessing
from entityclip.model import checkpoint
from entityclip.model.backbones import BackboneConfig, Task, best_at_hand
from entityclip.model.checkpoint_card import file_sha256
from entityclip.paths import CheckpointLayout, DataLayout, RunLayout
from entityclip.training import Adaptation, TrainConfig, batches, run_key
from entityclip.training.step import TrainingJob
from entityclip.training.trainer import fit


def config_from(backbone: Path, **more: object) -> TrainConfig:
    small = TrainConfig(epochs=1, batch=8, preprocessing=Preprocessing(resize="letterbox"))
    chosen = best_at_hand(BackboneConfig(backbone=str(backbone)), Task())
    return small.with_backbone(chosen).changed(**more)


def test_a_model_from_a_clip_of_ones_own_needs_none_of_its_files_any_more(data: DataLayout, tmp_path: Path) -> None:
    config = config_from(write_clip(tmp_path / "shop-clip"))
    sha = file_sha256(tmp_path / "shop-clip" / "model.safetensors")
    assert "shop-clip" in config.backbone
    fit(config, data=data, data_hash="d", run=RunLayout(tmp_path / "run"), report=print, progress=False)
    shutil.rmtree(tmp_path / "shop-clip")
    shutil.copytree(tmp_path / "run" / "checkpoint", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "run")
    loaded = checkpoint.load(CheckpointLayout(tmp_path / "elsewhere"))
    assert loaded.embed_texts(["a blue kettle"]).shape == (1, 16)
    assert loaded.embed_images([tiny_picture("red", 0)]).shape == (1, 16)
    assert loaded.card.config["backbone"] == config.backbone
    assert loaded.card.first_weights["pretrained model.safetensors"] == sha
    written = b"".join(path.read_bytes() for path in (tmp_path / "elsewhere").rglob("*.json"))
    assert str(tmp_path).encode() not in written


def test_where_the_files_lie_does_not_make_another_run_and_what_is_in_them_does(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "one" / "clip")
    shutil.copytree(first, tmp_path / "two" / "clip")
    keys = [run_key(config_from(tmp_path / place / "clip"), data_hash="d") for place in ("one", "two")]
    assert keys[0] == keys[1]
    write_clip(first, activation="gelu")
    assert run_key(config_from(first), data_hash="d") != keys[0]


@pytest.mark.parametrize("towers", ["all", "none"])
def test_a_fresh_projection_learns_at_the_full_rate_and_beside_frozen_towers(
    data: DataLayout, tmp_path: Path, towers: str
) -> None:
    file = tmp_path / "model.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), file)
    (tmp_path / "config.json").write_text('{"architecture": "test_efficientnet"}')
    config = config_from(tmp_path, adaptation={"towers": towers, "tower_rate": 0.1})
    assert config.preprocessing.resize == "letterbox"
    assert config.adaptation == Adaptation(towers=towers, tower_rate=0.1)  # type: ignore[arg-type]
    training = batches.load_training_set(data, preprocessing=config.preprocessing, progress=False)
    job = TrainingJob(config, training)
    job.step(1, job.steps[1])
    rates = {id(p): group["lr"] for group in job.optimizer.param_groups for p in group["params"]}
    full = rates[id(job.model.mmae.match.weight)]
    assert rates[id(job.model.visual.head.proj.weight)] == full
    stem = rates.get(id(job.model.visual.trunk.conv_stem.weight))
    assert stem == (pytest.approx(0.1 * full) if towers == "all" else None)
