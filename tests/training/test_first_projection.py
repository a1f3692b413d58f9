"""A fresh projection of a pretrained image tower starts from the pictures, not at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_architectures import IMAGE_TOWERS, architecture
from together import fit_all

from entityclip.data.preprocessing import Augmentation, Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.model.config import ExpertConfig, ModelConfig, TowerConfig
from entityclip.model.entityclip import EntityCLIP
from entityclip.paths import DataLayout, RunLayout
from entityclip.training import Adaptation, TrainConfig, batches
from entityclip.training.first_projection import fresh_projection, start_from_components, whitening
from entityclip.training.frozen_features import Views
from entityclip.training.launch import launch
from entityclip.training.step import TrainingJob
from entityclip.training.trainer import fit

SMALL = ExpertConfig(image=1, shared=1, text=1)


@pytest.fixture
def pretrained(tmp_path: Path) -> ModelConfig:
    """A convolutional tower with weights of its own; its projection is fresh."""
    form = architecture(vision=IMAGE_TOWERS["timm efficientnet"]) | {"embed_dim": 8}
    torch.manual_seed(1)
    trunk = EntityCLIP(ModelConfig(towers=TowerConfig(architecture=form), experts=SMALL)).visual.trunk
    save_file(dict(trunk.state_dict()), tmp_path / "tower.safetensors")
    towers = TowerConfig(architecture=form, image_weights=str(tmp_path / "tower.safetensors"))
    return ModelConfig(towers=towers, experts=SMALL)


def settings(model: ModelConfig, **adaptation: object) -> TrainConfig:
    return TrainConfig(
        model=model,
        preprocessing=Preprocessing(size=64),
        tokenisation=Tokenisation(context=12),
        adaptation=Adaptation(towers="none", text="all", probe_epochs=1, whiten=True, **adaptation),
        epochs=1,
        batch=8,
        save_seconds=0,
    )


def test_whitening_makes_the_strongest_directions_nearly_equally_strong() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 6)) * [8, 4, 2, 2, 0.01, 0.01]
    seen = rows @ whitening(rows, dim=4).T
    strength = (seen**2).mean(axis=0)
    np.testing.assert_allclose(seen.T @ seen / len(rows), np.diag(strength), atol=1e-6)
    assert strength.max() / strength.min() < 2  # of the rows as they are: 16


def test_fewer_pictures_than_dimensions_give_finite_weights() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    assert np.isfinite(whitening(rows, dim=8)).all()
    assert whitening(rows, dim=32).shape == (32, 16)  # a tower that is narrower than the joint space


def test_a_small_difference_between_products_is_told_from_a_large_one_between_backgrounds() -> None:
    rng = np.random.default_rng(0)
    product = np.repeat(np.arange(60), 4)
    rows = rng.normal(size=(240, 3)) @ rng.normal(size=(3, 64)) * 3  # light, distance, background
    rows += rng.normal(size=(60, 64))[product] + 0.1 * rng.normal(size=(240, 64))

    def nearest_is_right(vectors: np.ndarray) -> float:
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        near = unit @ unit.T - 2 * np.eye(240)
        return float((product[near.argmax(axis=1)] == product).mean())

    assert nearest_is_right(rows) < 0.5
    assert nearest_is_right(rows @ whitening(rows, dim=40).T) > 0.95


def test_it_is_the_same_from_kept_features_and_from_pictures(pretrained: ModelConfig, data: DataLayout) -> None:
    read = batches.load_training_set(data, preprocessing=Preprocessing(size=64), progress=False)
    weights = []
    for views in (0, 2):
        job = TrainingJob(settings(pretrained, views=views), read)
        at_random = job.model.visual.head[-1].weight.detach().clone()
        job.keep_features(RunLayout(data.root / f"run-{views}").decoded, hashes=["h"] * len(read), progress=False)
        job.start_projection()
        weights.append(job.model.visual.head[-1].weight.detach())
        assert not torch.equal(weights[-1], at_random)
        torch.testing.assert_close(weights[-1].norm(), at_random.norm())
    metrics = [weight.T @ weight for weight in weights]  # components are known but for their signs
    assert (metrics[0] - metrics[1]).norm() < 0.1 * metrics[0].norm()  # features are kept in half precision


def test_towers_that_come_with_a_joint_space_or_from_scratch_keep_their_weights(data: DataLayout) -> None:
    read = batches.load_training_set(data, preprocessing=Preprocessing(size=32), progress=False)
    for name in ("vit", "timm efficientnet"):
        scratch = TowerConfig(architecture=architecture(vision=IMAGE_TOWERS[name]))
        model = EntityCLIP(ModelConfig(towers=scratch, experts=SMALL))
        assert fresh_projection(model) is None
        before = {key: value.clone() for key, value in model.state_dict().items()}
        start_from_components(model, read.pictures, views=Views(1, Preprocessing(size=32), Augmentation()), kept=None)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_with_rate_zero_it_stays_through_the_run_and_through_a_kill(
    pretrained: ModelConfig, data: DataLayout, tmp_path: Path
) -> None:
    config = settings(pretrained, views=1, projection_rate=0.0).changed(epochs=2, ema_decay=0.9)

    def run(name: str, config: TrainConfig, *, die: bool = False) -> dict[str, torch.Tensor]:
        def report(epoch: int, _: dict[str, float]) -> None:
            if die and epoch == 1:
                raise InterruptedError

        layout = RunLayout(tmp_path / name)
        fit(config, data=data, data_hash="d", run=layout, report=report, progress=False)
        return load_file(layout.checkpoint.weights)

    with pytest.raises(InterruptedError):
        run("killed", config, die=True)
    killed, whole = run("killed", config), run("whole", config)
    assert all(torch.equal(killed[name], tensor) for name, tensor in whole.items())
    short = run("short", config.changed(epochs=1))
    name = "visual.head.proj.weight"
    assert torch.equal(whole[name], short[name])
    assert not torch.equal(whole["text.text_projection"], short["text.text_projection"])


@pytest.mark.slow
def test_two_processes_plan_whiten_and_interpolate_as_one_does_with_whole_weights_or_shards(
    pretrained: ModelConfig, data: DataLayout, tmp_path: Path
) -> None:
    slow = settings(pretrained, views=1, interpolate=True, probe_rate=1e-4)
    alone = slow.changed(epochs=2, minutes=10.0, learning_rate=1e-4, ema_decay=0.5)
    fit_all({"alone": alone}, data, tmp_path)
    launch(fit_all, {"whole": alone, "shards": alone.changed(shard=True)}, data, tmp_path, processes=2)
    expected, *found = (
        load_file(RunLayout(tmp_path / name).checkpoint.weights) for name in ("alone", "whole", "shards")
    )
    plans = {RunLayout(tmp_path / name).plan.read_text().split('"seconds"')[0] for name in ("alone", "whole", "shards")}
    assert len(plans) == 1
    for weights in found:
        assert weights.keys() == expected.keys()
        for name, weight in weights.items():
            torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
