"""How a budget of minutes is spent: on features of the frozen blocks, on the heads, then on the towers.

A few steps of each kind are timed, and the plan is written beside the run before its first step. From then on the
plan decides, not the clock: a run that was killed goes on with it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable

import numpy as np
import torch

from entityclip.model.distributed import process
from entityclip.model.frozen_part import image_features
from entityclip.paths import RunLayout
from entityclip.schemas import Record
from entityclip.storage import atomic_write
from entityclip.training.batches import TrainingSet
from entityclip.training.config import TrainConfig
from entityclip.training.devices import join
from entityclip.training.frozen_features import CHUNK, Views
from entityclip.training.step import TrainingJob

SPARE = 0.12
"""Share of the budget kept for saved states, validation and steps that are slower than the timed ones."""
FEATURES, PROBE = 0.25, 0.2
"""Shares of the budget that features and the first epochs may take at most, where the towers learn after them."""
TIMED = 2
"""Steps of each kind that are timed, after one that is not."""


class Plan(Record):
    """What is done in the budget, and how long it is expected to take."""

    views: int
    probe_epochs: int
    epochs: int
    seconds: dict[str, float]

    def of(self, config: TrainConfig) -> TrainConfig:
        """The config with these numbers."""
        adaptation = config.adaptation.model_copy(update={"views": self.views, "probe_epochs": self.probe_epochs})
        return config.model_copy(update={"adaptation": adaptation, "epochs": self.epochs})

    def __str__(self) -> str:
        parts = {
            "features": f"views of each picture through the frozen blocks: {self.views}",
            "heads": f"epochs with a frozen image tower: {self.probe_epochs}",
            "towers": f"epochs of fine-tuning: {self.epochs - self.probe_epochs}",
        }
        return "Plan: " + "; ".join(f"{parts[name]}, about {s:.0f} s" for name, s in self.seconds.items())


class Costs(Record):
    """Seconds, as timed."""

    view: float
    probe_epoch: float
    epoch: float


def planned(config: TrainConfig, training: TrainingSet, *, run: RunLayout, started: float) -> tuple[TrainConfig, str]:
    """The config with epochs and views in place of a budget, and the plan in words; without a budget, as it is.

    Several processes time their steps together, and the first one's plan counts.

    Args:
        config: The settings of the run.
        training: What it trains on.
        run: Keeps the plan.
        started: When the run began, as ``time.monotonic`` counts.
    """
    if config.minutes is None:
        return config, ""
    before = run.plan.is_file()
    if not before:
        costs = timed(config, training)
        if process() == 0:
            seconds = 60 * config.minutes * (1 - SPARE) - (time.monotonic() - started)
            atomic_write(run.plan, fitting(config, costs, seconds=seconds).model_dump_json(indent=2))
        join(config).wait_for_everyone()
    plan = Plan.model_validate(json.loads(run.plan.read_text(encoding="utf-8")))
    return plan.of(config), f"{plan} (as planned when the run began)" if before else str(plan)


def fitting(config: TrainConfig, costs: Costs, *, seconds: float) -> Plan:
    """The plan that fits into ``seconds``: features and heads first, since they pay most, then fine-tuning."""
    views = _most(config.adaptation.views, costs.view, FEATURES * seconds)
    left = seconds - views * costs.view
    heads = min(config.adaptation.probe_epochs, config.epochs)
    tunes = config.epochs > heads and costs.epoch <= left
    probe = _most(heads, costs.probe_epoch, PROBE * seconds if tunes else left)
    left -= probe * costs.probe_epoch
    tuning = _most(config.epochs - heads, costs.epoch, left) if tunes or not probe else 0
    spent = {"features": views * costs.view, "heads": probe * costs.probe_epoch, "towers": tuning * costs.epoch}
    return Plan(
        views=views,
        probe_epochs=probe,
        epochs=probe + tuning,
        seconds={name: round(value, 1) for name, value in spent.items() if value},
    )


def _most(wanted: int, cost: float, seconds: float) -> int:
    """As many as fit, at least one and at most as many as are wanted."""
    return min(wanted, max(1, math.floor(seconds / max(cost, 1e-9))))


# ---------------------------------------------------------------- the clock
def timed(config: TrainConfig, training: TrainingSet) -> Costs:
    """What a view of all pictures, an epoch of the heads and one of the towers cost here; no weight of it is kept."""
    job = TrainingJob(config, training)
    cuts, epoch = job.cuts(), sum(number == 0 for number, _ in job.steps.plan)
    shown, rows = _views(config, training, job), np.arange(min(CHUNK, len(training)))
    reads = tuple(sorted(set(cuts.values())))
    with torch.inference_mode():
        job.model.visual.eval()
        view = _seconds(lambda: image_features(job.model.visual, shown(rows), blocks=reads)) if reads else 0.0
    steps = {False: _step_seconds(job, cuts, shown, probing=False) if job.steps.probe < len(job.steps) else 0.0}
    steps[True] = _step_seconds(job, cuts, shown, probing=True) if job.steps.probe else 0.0
    return Costs(view=view * len(training) / len(rows), probe_epoch=steps[True] * epoch, epoch=steps[False] * epoch)


def _views(config: TrainConfig, training: TrainingSet, job: TrainingJob) -> Callable[[np.ndarray], torch.Tensor]:
    views, device = Views(1, config.preprocessing, config.augmentation), job.accelerator.device
    return lambda rows: views.pictures(training.pictures.read(rows), view=0, device=device)


def _step_seconds(
    job: TrainingJob, cuts: dict[bool, int], shown: Callable[[np.ndarray], torch.Tensor], *, probing: bool
) -> float:
    number = 0 if probing else job.steps.probe
    prepared = job.steps[number]
    if probing in cuts:
        rows = job.steps.plan[number][1][job.steps.share(number)]
        with torch.inference_mode():
            (features,) = image_features(job.model.visual, shown(rows), blocks=(cuts[probing],))
        prepared = prepared._replace(squares=features.half().cpu().clone())
    job.enter(probing=probing)
    job.model.features_behind = cuts.get(probing)

    def step() -> None:
        job.step(number, prepared)
        job.require_finite()  # waits for the device

    return _seconds(step)


def _seconds(work: Callable[[], object]) -> float:
    """The faster of two tries, after one that allocates: other work on the machine is what SPARE is for."""
    work()
    times = []
    for _ in range(TIMED):
        started = time.monotonic()
        work()
        times.append(time.monotonic() - started)
    return min(times)
