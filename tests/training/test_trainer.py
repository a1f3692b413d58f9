from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_data

from entityclip import training
from entityclip.data.preprocessing import Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.errors import ConfigError, DataError, TrainingError
from entityclip.model import checkpoint
from entityclip.model.config import ExpertConfig, LossConfig, ModelConfig, TowerConfig
from entityclip.paths import DataLayout, RunLayout
from entityclip.training import TrainConfig, batches
from entityclip.training.batches import PreparedBatch
from entityclip.training.best_checkpoint import STILL
from entityclip.training.schedule import Steps
from entityclip.training.step import TrainingJob
from entityclip.training.trainer import fit as train_fit

pytestmark = pytest.mark.slow

CONFIG = TrainConfig(
    model=ModelConfig(
        towers=TowerConfig(architecture="entityclip-tiny", mean_pool=True),
        experts=ExpertConfig(image=1, shared=1, text=1),
    ),
    preprocessing=Preprocessing(size=48),
    tokenisation=Tokenisation(context=24),
    epochs=4,
    batch=5,
    small_until=0.5,
    small_size=32,
    save_seconds=0,
)


class Killed(Exception):
    """Stands for the signal: raised between two steps, nothing is cleaned up."""


def fit(data: DataLayout, root: Path, config: TrainConfig = CONFIG, *, die_after: int = 99) -> dict[str, float]:
    """Train; the terms of the last epoch. Dies when the report of epoch ``die_after`` comes."""
    last: dict[str, float] = {}

    def report(epoch: int, terms: dict[str, float]) -> None:
        last.update(terms)
        if epoch == die_after:
            raise Killed

    train_fit(config, data=data, data_hash="d", run=RunLayout(root), report=report, progress=False)
    return last


@pytest.mark.parametrize("settings", [{}, {"ema_decay": 0.9}, {"siblings": 0.5}])
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one_bit_for_bit(
    data: DataLayout, tmp_path: Path, settings: dict[str, float]
) -> None:
    config = CONFIG.model_copy(update=settings)
    fit(data, tmp_path / "unbroken", config)
    with pytest.raises(Killed):
        fit(data, tmp_path / "killed", config, die_after=2)
    killed = RunLayout(tmp_path / "killed")
    assert not killed.checkpoint.card.exists()
    killed.resume.with_suffix(".partial").write_bytes(b"half of a newer state")
    fit(data, tmp_path / "killed", config)
    ours, theirs = (load_file(RunLayout(tmp_path / n).checkpoint.weights) for n in ("killed", "unbroken"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_mean_of_all_steps_is_kept_in_place_of_the_last_weights(
    data: DataLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    step = TrainingJob.step

    def noting(self: TrainingJob, number: int, prepared: PreparedBatch) -> dict[str, float]:
        if number == 0:
            seen.append({name: value.clone() for name, value in self.model.state_dict().items()})
        terms = step(self, number, prepared)
        seen.append({name: value.clone() for name, value in self.model.state_dict().items()})
        return terms

    monkeypatch.setattr(TrainingJob, "step", noting)
    fit(data, tmp_path, CONFIG.model_copy(update={"ema_decay": 0.5}))
    mean, *steps = seen
    for number, weights in enumerate(steps):
        kept = min(0.5, (1 + number) / (10 + number))
        mean = {name: kept * mean[name] + (1 - kept) * value for name, value in weights.items()}
    found = load_file(RunLayout(tmp_path).checkpoint.weights)
    for name in (n for n in found if found[n].is_floating_point()):
        torch.testing.assert_close(found[name], mean[name], rtol=1e-4, atol=1e-6)
        moved = not torch.equal(steps[0][name], steps[-1][name])
        assert not moved or not torch.equal(found[name], steps[-1][name])


def test_a_resumed_run_does_not_begin_again(data: DataLayout, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        fit(data, tmp_path, die_after=3)
    epochs: list[int] = []
    run = RunLayout(tmp_path)
    train_fit(CONFIG, data=data, data_hash="d", run=run, report=lambda e, _: epochs.append(e), progress=False)
    assert epochs
    assert min(epochs) >= 3
    assert not run.resume.exists()


def test_a_finished_run_is_not_trained_again(data: DataLayout, tmp_path: Path) -> None:
    fit(data, tmp_path)
    assert fit(data, tmp_path) == {}


def test_training_lowers_the_loss(data: DataLayout, tmp_path: Path) -> None:
    first = fit(data, tmp_path / "short", CONFIG.model_copy(update={"epochs": 1, "small_until": 0}))
    last = fit(data, tmp_path / "long", CONFIG.model_copy(update={"epochs": 12, "small_until": 0}))
    assert last["loss"] < 0.85 * first["loss"]  # rows of one entity share a positive: the floor is far above 0


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_pairs(data: DataLayout, tmp_path: Path) -> None:
    mad = Preprocessing(size=32, std=(1e-45, 1e-45, 1e-45))  # pictures become infinite
    with pytest.raises(TrainingError, match=r"step 0: .* pairs of the batch: [0-9a-f]{16}"):
        fit(data, tmp_path, CONFIG.model_copy(update={"preprocessing": mad}))
    assert not RunLayout(tmp_path).checkpoint.card.exists()


def test_a_split_without_pairs_is_refused(data: DataLayout, tmp_path: Path) -> None:
    for shard in tiny_data(tmp_path / "data").pairs.glob("train-*"):
        shard.unlink()
    with pytest.raises(DataError, match="train"):
        fit(DataLayout(tmp_path / "data"), tmp_path / "run")


@pytest.mark.parametrize("change", [{"seed": 1}, {"epochs": 5}, {"loss": CONFIG.loss.model_copy(update={"beta": 0.2})}])
def test_another_config_is_another_run(change: dict[str, object]) -> None:
    assert training.run_key(CONFIG, data_hash="d") != training.run_key(CONFIG.model_copy(update=change), data_hash="d")


def test_only_the_given_options_change_the_settings() -> None:
    assert CONFIG.changed(epochs=None, device=None) == CONFIG
    assert CONFIG.changed(epochs=7).epochs == 7
    with pytest.raises(ConfigError, match=r"device 'gpu'.*'cpu' or 'cuda'"):
        CONFIG.changed(device="gpu")


def test_other_data_are_another_run() -> None:
    assert training.run_key(CONFIG, data_hash="d") != training.run_key(CONFIG, data_hash="e")


def test_other_weights_in_the_same_file_are_another_run(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    config, keys = CONFIG.starting_from(str(file)), []
    for content in (b"first", b"second", b"first"):
        file.write_bytes(content)
        keys.append(training.run_key(config, data_hash="d"))
    assert keys[0] == keys[2] != keys[1]


# ---------------------------------------------------------------- the checkpoint that a run leaves
def test_a_checkpoint_rebuilds_the_model_that_was_trained(data: DataLayout, tmp_path: Path) -> None:
    fit(data, tmp_path)
    loaded = checkpoint.load(RunLayout(tmp_path).checkpoint)
    assert loaded.card.preprocessing == CONFIG.preprocessing
    assert loaded.card.config == CONFIG.model_dump(mode="json")
    assert loaded.card.machine.keys() == {"system", "processor", "cores", "device", "python"}
    vectors = loaded.embed_texts(["KX-RED", "KX-RED", "KX-BLUE"])
    assert vectors.shape == (3, 32)
    assert (vectors[0] == vectors[1]).all()
    assert abs((vectors**2).sum(1) - 1).max() < 1e-5


@pytest.mark.parametrize(("workers", "eta"), [(0, 0.1), (2, 0.1), (0, 0.0)])
def test_a_run_killed_inside_an_epoch_goes_on_with_any_number_of_workers_and_terms(
    data: DataLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, eta: float
) -> None:
    config = CONFIG.model_copy(update={"loss": LossConfig(eta=eta)})  # without eta, the matching head has no moments
    fit(data, tmp_path / "unbroken", config)
    step = TrainingJob.step

    def dying(self: TrainingJob, number: int, prepared: PreparedBatch) -> dict[str, float]:
        if number == 4:  # an epoch has three steps
            raise Killed
        return step(self, number, prepared)

    monkeypatch.setattr(TrainingJob, "step", dying)
    with pytest.raises(Killed):
        fit(data, tmp_path / "killed", config)
    monkeypatch.undo()
    fit(data, tmp_path / "killed", config.model_copy(update={"workers": workers}))
    ours, theirs = (load_file(RunLayout(tmp_path / n).checkpoint.weights) for n in ("killed", "unbroken"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_epoch_with_the_lowest_validation_loss_is_kept(data: DataLayout, tmp_path: Path) -> None:
    mad = CONFIG.model_copy(
        update={
            "keep": "best",
            "epochs": 6,
            "learning_rate": 0.05,
            "max_grad_norm": 1e9,
            "small_until": 0.0,
            "loss": LossConfig(eta=0),
        }
    )
    found: list[float] = []

    def report(epoch: int, terms: dict[str, float]) -> None:
        found.append(terms["validation"])
        if epoch == 4 and len(found) == 4:
            raise Killed

    for expected in (pytest.raises(Killed), contextlib.nullcontext()):
        with expected:
            train_fit(mad, data=data, data_hash="d", run=RunLayout(tmp_path), report=report, progress=False)
    assert len(found) >= 6
    best = min(found)
    assert best < max(found)
    model = checkpoint.load(RunLayout(tmp_path).checkpoint).model
    cache = RunLayout(tmp_path).decoded  # streamed pictures come in another order, and so make another batch
    validation = batches.load_training_set(
        data, split="val", preprocessing=mad.preprocessing, cache=cache, most_bytes=10**9, progress=False
    )
    still = mad.model_copy(update={"epochs": 1, "augmentation": STILL})
    batch = Steps(still, validation)[0].batch(preprocessing=mad.preprocessing, device="cpu")
    loss = model.losses(batch, config=mad.loss)["loss"]
    assert float(loss.detach()) == pytest.approx(best, rel=1e-5)
    assert not RunLayout(tmp_path).best.exists()
