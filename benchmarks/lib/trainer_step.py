"""The trainer's own step on rows of the built-in catalogue: what ``step.py`` counts and ``on_gpu.py`` times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from entityclip.architectures import settings
from entityclip.data.preprocessing import Preprocessing
from entityclip.model.compatibility import expected_tokenisation
from entityclip.model.config import ModelConfig, TowerConfig
from entityclip.training import TrainConfig
from entityclip.training.step import TrainingJob
from lib.catalog_rows import catalog_rows
from lib.graph_stand_in import graphs_stand_in
from lib.step_counter import StepCounter, counting

WARM = 2
"""Steps after which moments exist and constants are on the device."""
COUNTED_ROWS = 4
"""Rows of a step that is counted: how many operations it has does not depend on them."""


def settings_of(architecture: str, *, batch: int, **changes: Any) -> TrainConfig:
    """A run from scratch with a running mean of its weights; ``changes`` are fields of ``TrainConfig``."""
    towers = TowerConfig(architecture=architecture)
    side = settings(architecture)["vision_cfg"].get("image_size", 224)
    config = TrainConfig(
        model=ModelConfig(towers=towers),
        preprocessing=Preprocessing(size=side),
        tokenisation=expected_tokenisation(towers),
        batch=batch,
        ema_decay=0.99,
    )
    return config.changed(**changes)


def training_job(architecture: str, *, batch: int, **changes: Any) -> TrainingJob:
    """The job of ``settings_of``, on rows of the catalogue."""
    config = settings_of(architecture, batch=batch, **changes)
    return TrainingJob(config, catalog_rows(8 * batch, side=config.kept_side))


def counted_step(architecture: str, *, precision: str) -> StepCounter:
    """One step of the trainer on the CPU, counted."""
    return counted(training_job(architecture, batch=COUNTED_ROWS, precision=precision))


def launches(architecture: str, *, precision: str) -> int:
    """Operations and graphs that the host of such a step launches where towers and loss are CUDA graphs."""
    with torch.compiler.set_stance("force_eager"), graphs_stand_in() as replays:
        job = training_job(architecture, batch=COUNTED_ROWS, precision=precision, compile=True)
        job.graphed = True
        seen = counted(job, before=replays.reset)
    return seen.totals()["ops_per_step"] + replays.count


def counted(job: TrainingJob, *, before: Callable[[], object] = lambda: None) -> StepCounter:
    """The step after WARM others, counted; ``before`` is called in front of it."""
    for number in range(WARM):
        job.step(number, job.steps[number])
    prepared = job.steps[WARM]
    before()
    with counting() as counter:
        job.step(WARM, prepared)
    return counter
