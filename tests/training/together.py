"""Several processes on this machine, joined by gloo, that do one training job together."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist

from entityclip.model.distributed import process
from entityclip.paths import DataLayout, RunLayout
from entityclip.training import TrainConfig, batches, interpolation, trainer
from entityclip.training.best_checkpoint import Best
from entityclip.training.launch import launch
from entityclip.training.resume_state import whole_state
from entityclip.training.step import TrainingJob
from entityclip.training.trainer import fit

STEPS = 3


def steps(config: TrainConfig, data: DataLayout) -> dict[str, torch.Tensor]:
    """What the first steps of a job give: losses, the gradients of the first, the weights after the last."""
    full = config.preprocessing
    job = TrainingJob(config, batches.load_training_set(data, preprocessing=full, progress=False))
    found: dict[str, torch.Tensor] = {}
    for number in range(STEPS):
        terms = job.step(number, job.steps[number])
        found |= {f"loss.{number}.{name}": torch.tensor(value) for name, value in terms.items()}
        if number == 0 and not config.shard:
            found |= {f"grad.{n}": p.grad.clone() for n, p in job.model.named_parameters() if p.grad is not None}
    return found | {f"weight.{name}": value for name, value in whole_state(job.wrapped).items()}


def steps_together(
    configs: list[TrainConfig], data: DataLayout, *, processes: int, folder: Path
) -> list[dict[str, torch.Tensor]]:
    """The same for one config after the other, found by ``processes`` processes; as the first of them saw it."""
    out = folder / f"{processes}.pt"
    launch(_steps, configs, data, out, processes=processes)
    found: list[dict[str, torch.Tensor]] = torch.load(out, weights_only=True)
    return found


def _steps(configs: list[TrainConfig], data: DataLayout, out: Path) -> None:
    torch.set_num_threads(1)
    found = [steps(config, data) for config in configs]
    if process() == 0:
        torch.save(found, out)


def fit_all(configs: dict[str, TrainConfig], data: DataLayout, folder: Path) -> None:
    """One whole run after the other, each in a folder of its name and halfway between the weights that it interpolates.

    It can be pickled for ``launch``.
    """
    torch.set_num_threads(1)
    shares = mock.patch.object(interpolation, "SHARES", (0.5,))
    with shares, mock.patch.object(trainer, "interpolate", _interpolate_alike):
        for name, config in configs.items():
            run = RunLayout(folder / name)
            fit(config, data=data, data_hash="d", run=run, report=lambda *_: None, progress=False)


def _interpolate_alike(job: TrainingJob, validation: Best, start: Path) -> float:
    """Interpolate, after which every process has to hold the same weights."""
    share = interpolation.interpolate(job, validation, start)
    if dist.is_initialized():
        own = [float(weight.detach().double().sum()) for weight in job.model.parameters()]
        dist.all_gather_object(every := [None] * dist.get_world_size(), own)
        assert every == [every[0]] * len(every), "the processes hold different weights"
    return share
