"""Kept features stand in for pictures, and parts of a run in which other weights learn."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_architectures import IMAGE_TOWERS, architecture

from entityclip.data.image_cache import SplitImages
from entityclip.data.preprocessing import Augmentation, Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.errors import ConfigError
from entityclip.model.config import ExpertConfig, ModelConfig, TowerConfig
from entityclip.model.entityclip import EntityCLIP
from entityclip.model.frozen_part import frozen_blocks, image_features, tokens_of_features
from entityclip.paths import DataLayout, DecodedLayout, RunLayout
from entityclip.training import Adaptation, TrainConfig, batches, budget
from entityclip.training.frozen_features import FrozenFeatures, Views, keep_features
from entityclip.training.step import TrainingJob
from entityclip.training.trainer import fit

pytestmark = pytest.mark.slow

SIDE = {
    "vit": 32,
    "vit, mean of the patches": 32,
    "timm efficientnet": 64,
    "timm vit, class token": 160,
    "timm vit, registers": 64,
    "siglip, attention pooling": 160,
}


def model_of(name: str) -> ModelConfig:
    towers = TowerConfig(architecture=architecture(vision=IMAGE_TOWERS[name]))
    return ModelConfig(towers=towers, experts=ExpertConfig(image=1, shared=1, text=1))


@pytest.fixture
def photos() -> TrainConfig:
    """First the heads on kept features of a convolutional tower, then its last two blocks on other ones."""
    return TrainConfig(
        model=model_of("timm efficientnet"),
        preprocessing=Preprocessing(size=64),
        tokenisation=Tokenisation(context=12),
        adaptation=Adaptation(
            towers="last", blocks=2, text="all", views=2, probe_epochs=2, layer_decay=0.7, interpolate=True
        ),
        epochs=4,
        batch=8,
        ema_decay=0.9,
        save_seconds=0,
    )


def fitted(config: TrainConfig, data: DataLayout, root: Path, *, die_after: int = 99) -> dict[str, torch.Tensor]:
    def report(epoch: int, _: dict[str, float]) -> None:
        if epoch == die_after:
            raise InterruptedError

    run = RunLayout(root)
    fit(config, data=data, data_hash="d", run=run, report=report, progress=False)
    return load_file(run.checkpoint.weights)


# ---------------------------------------------------------------- the tower in two parts
@pytest.mark.parametrize("name", SIDE)
def test_a_tower_read_from_its_features_gives_the_tokens_of_the_picture(name: str) -> None:
    tower = EntityCLIP(model_of(name)).eval()
    pictures = torch.randn(2, 3, SIDE[name], SIDE[name])
    with torch.inference_mode():
        whole = tower.image_tokens(pictures)
        for cut, features in enumerate(image_features(tower.visual, pictures, blocks=(0, 1, 2))):
            torch.testing.assert_close(tokens_of_features(tower.visual, features, blocks=cut).tokens, whole.tokens)


def test_blocks_are_frozen_up_to_the_first_that_learns() -> None:
    tower = EntityCLIP(model_of("timm efficientnet")).visual
    assert frozen_blocks(tower) == 0
    tower.trunk.requires_grad_(False)
    blocks = tower.trunk.blocks
    assert frozen_blocks(tower) == len(blocks)
    blocks[2].requires_grad_(True)
    assert frozen_blocks(tower) == 2
    tower.trunk.conv_stem.requires_grad_(True)
    assert frozen_blocks(tower) == 0


def test_a_tower_that_cannot_be_cut_says_which_can() -> None:
    with pytest.raises(ConfigError, match="features of a ModifiedResNet cannot be kept; expected a ViT"):
        frozen_blocks(EntityCLIP(model_of("resnet")).visual)


# ---------------------------------------------------------------- the files
class SomePictures:
    """Some rows of a split, and which of them were read."""

    def __init__(self, pictures: SplitImages, rows: Sequence[int]) -> None:
        self._pictures, self._rows, self.seen = pictures, np.array(rows), set[int]()

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, rows: np.ndarray) -> torch.Tensor:
        self.seen |= set(self._rows[rows].tolist())
        return self._pictures.read(self._rows[rows])


def kept(
    data: DataLayout, folder: Path, *, seed: int = 0, size: int = 64, rows: Sequence[int] | None = None
) -> tuple[FrozenFeatures, set[int]]:
    """The features of these training pictures, and the pictures that were read for them."""
    torch.manual_seed(seed)
    tower = EntityCLIP(model_of("timm efficientnet")).visual
    preprocessing = Preprocessing(size=size)
    whole = batches.load_training_set(data, preprocessing=preprocessing, progress=False).pictures
    pictures = SomePictures(whole, range(len(whole)) if rows is None else rows)
    views = Views(2, preprocessing, Augmentation())
    features = keep_features(
        tower,
        pictures,
        hashes=[f"h{row}" for row in (range(len(whole)) if rows is None else rows)],
        views=views,
        blocks=[3],
        cache=DecodedLayout(folder),
        progress=False,
    )[3]
    return features, pictures.seen


def test_features_are_computed_once_for_the_same_weights_pictures_and_views(data: DataLayout, tmp_path: Path) -> None:
    first, _ = kept(data, tmp_path)
    stamps = [path.stat().st_mtime_ns for path in first.paths]
    rows, chance = np.array([3, 0, 3]), torch.tensor([0.0, 0.9, 0.9])
    read = first.read(rows, chance)
    assert read.dtype == torch.float16
    assert not torch.equal(read[0], read[2])  # another view of the same picture
    assert torch.equal(pickle.loads(pickle.dumps(first)).read(rows, chance), read)
    first.paths[1].unlink()  # a run was killed before its second view
    again, _ = kept(data, tmp_path)
    assert [again.paths[0].stat().st_mtime_ns] == stamps[:1]
    assert torch.equal(again.read(rows, chance), read)


def test_other_weights_or_another_size_are_other_features(data: DataLayout, tmp_path: Path) -> None:
    first, _ = kept(data, tmp_path)
    for other, _ in (kept(data, tmp_path, seed=1), kept(data, tmp_path, size=32)):
        assert other.paths != first.paths
        assert not any(path.exists() for path in first.paths)  # stale files go


def test_only_new_pictures_are_read_and_give_the_features_of_a_whole_pass(data: DataLayout, tmp_path: Path) -> None:
    kept(data, tmp_path / "a", rows=[5, 0, 3, 9])
    features, seen = kept(data, tmp_path / "a", rows=[9, 7, 0, 2])
    whole, _ = kept(data, tmp_path / "b", rows=[9, 7, 0, 2])
    assert seen == {7, 2}
    rows = np.arange(4)
    for view in (0.0, 0.9):
        assert torch.equal(features.read(rows, torch.full((4,), view)), whole.read(rows, torch.full((4,), view)))
    assert len(list((tmp_path / "a").glob("features-*"))) == 3  # two views and their rows


# ---------------------------------------------------------------- the run
def test_a_run_with_two_parts_resumes_to_the_weights_of_an_unbroken_one(
    data: DataLayout, tmp_path: Path, photos: TrainConfig
) -> None:
    unbroken = fitted(photos, data, tmp_path / "unbroken")
    for die_after in (1, 2, 3):
        root = tmp_path / str(die_after)
        with pytest.raises(InterruptedError):
            fitted(photos, data, root, die_after=die_after)
        ours = fitted(photos, data, root)
        assert all(torch.equal(ours[name], unbroken[name]) for name in unbroken)
        assert not RunLayout(root).start.exists()


def test_first_the_image_tower_is_frozen_and_then_its_last_blocks_learn(
    data: DataLayout, tmp_path: Path, photos: TrainConfig
) -> None:
    pictures = batches.load_training_set(data, preprocessing=photos.preprocessing, progress=False)
    job = TrainingJob(photos, pictures)
    assert job.cuts() == {True: len(job.model.visual.trunk.blocks), False: len(job.model.visual.trunk.blocks) - 2}
    job.keep_features(DecodedLayout(tmp_path), hashes=["h"] * len(pictures), progress=False)
    before = {name: value.clone() for name, value in job.model.state_dict().items()}

    def moved() -> set[str]:
        now = job.model.state_dict()
        return {name for name in before if name.startswith("visual.trunk") and not torch.equal(now[name], before[name])}

    for step in range(job.steps.probe):
        job.step(step, job.steps[step])
    assert not moved()
    assert not torch.equal(job.model.visual.head.proj.weight, before["visual.head.proj.weight"])
    for step in range(job.steps.probe, len(job.steps)):
        job.step(step, job.steps[step])
    learned = ("visual.trunk.blocks.5", "visual.trunk.blocks.4", "visual.trunk.conv_head", "visual.trunk.bn2")
    last = tuple(learned) if len(job.model.visual.trunk.blocks) == 6 else ("visual.trunk.",)
    assert moved()
    assert all(name.startswith(last) for name in moved())
    assert job.steps.features[False].read(np.array([0]), torch.zeros(1)).dtype == torch.float16


def test_a_deeper_block_learns_more_slowly(data: DataLayout, photos: TrainConfig) -> None:
    pictures = batches.load_training_set(data, preprocessing=photos.preprocessing, progress=False)
    job = TrainingJob(photos, pictures)
    job.model.tower_config  # noqa: B018
    assert {group["scale"] for group in job.optimizer.param_groups} == {1.0}  # from scratch: nothing is pretrained


# ---------------------------------------------------------------- the budget
def test_a_plan_spends_on_features_and_heads_first(photos: TrainConfig) -> None:
    config = photos.changed(epochs=30, adaptation=photos.adaptation.model_copy(update={"views": 6, "probe_epochs": 10}))
    costs = budget.Costs(view=10, probe_epoch=2, epoch=20)
    plan = budget.fitting(config, costs, seconds=300)
    assert (plan.views, plan.probe_epochs, plan.epochs) == (6, 10, 10 + 11)
    assert sum(plan.seconds.values()) <= 300
    small = budget.fitting(config, costs, seconds=25)
    assert (small.views, small.probe_epochs, small.epochs) == (1, 7, 7)  # no time for an epoch of the towers
    assert budget.fitting(config, costs, seconds=1).epochs == 1  # never nothing
    assert "views of each picture through the frozen blocks: 6" in str(plan)


def test_the_plan_of_a_budget_is_kept_by_a_resumed_run(
    data: DataLayout, tmp_path: Path, photos: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = photos.changed(minutes=5.0, epochs=4)
    unbroken = fitted(config, data, tmp_path / "unbroken")
    plan = RunLayout(tmp_path / "unbroken").plan.read_bytes()
    with pytest.raises(InterruptedError):
        fitted(config, data, tmp_path / "killed", die_after=2)
    monkeypatch.setattr(budget, "timed", lambda *_: pytest.fail("a resumed run times nothing"))
    resumed = fitted(config, data, tmp_path / "killed")
    assert b'"epochs": 4' in plan.replace(b'"epochs":4', b'"epochs": 4')
    assert all(torch.equal(resumed[name], unbroken[name]) for name in unbroken)


@pytest.mark.parametrize("name", ["siglip, attention pooling", "timm vit, registers"])
def test_a_timm_transformer_learns_from_kept_features(
    name: str, photos: TrainConfig, data: DataLayout, tmp_path: Path
) -> None:
    preprocessing = Preprocessing(size=SIDE[name])
    adaptation = photos.adaptation.model_copy(update={"blocks": 1, "whiten": True, "projection_rate": 0.1})
    parts = {"model": model_of(name), "preprocessing": preprocessing, "adaptation": adaptation}
    config = photos.model_copy(update=parts)
    pictures = batches.load_training_set(data, preprocessing=preprocessing, progress=False)
    before = {key: value.clone() for key, value in TrainingJob(config, pictures).model.state_dict().items()}
    after = fitted(config, data, tmp_path / "run")
    moved = {key: not torch.equal(after[key], before[key]) for key in after if key.startswith("visual.trunk.blocks.")}
    numbers = sorted({int(key.split(".")[3]) for key in moved})
    first, last = (f"visual.trunk.blocks.{number}." for number in (numbers[0], numbers[-1]))
    assert not any(changed for key, changed in moved.items() if key.startswith(first))
    assert any(changed for key, changed in moved.items() if key.startswith(last))
