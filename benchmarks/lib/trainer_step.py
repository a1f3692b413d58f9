"""The trainer's own step on rows of the built-in catalogue: what ``step.py`` counts and ``on_gpu.py`` times."""

from __future__ import annotations

from typing import Any

from entityclip.architectures import settings
from entityclip.data.preprocessing import Preprocessing
from entityclip.model.compatibility import expected_tokenisation
from entityclip.model.config import ModelConfig, TowerConfig
from entityclip.training import TrainConfig
from entityclip.training.step import TrainingJob
from lib.catalog_rows import catalog_rows
from lib.step_counter import StepCounter, counting

WARM = 2
"""Steps after which moments exist and constants are on the device."""
COUNTED_ROWS = 4
"""Rows of a step that is counted: how many operations it has does not depend on them."""


def training_job(architecture: str, *, batch: int, **changes: Any) -> TrainingJob:
    """A job from scratch with a running mean of its weights; ``changes`` are fields of ``TrainConfig``."""
    towers = TowerConfig(architecture=architecture)
    side = settings(architecture)["vision_cfg"].get("image_size", 224)
    config = TrainConfig(
        model=ModelConfig(towers=towers),
        preprocessing=Preprocessing(size=side),
        tokenisation=expected_tokenisation(towers),
        batch=batch,
        ema_decay=0.99,
    )
    config = config.changed(**changes)
    return TrainingJob(config, catalog_rows(8 * batch, side=config.kept_side))


def counted_step(architecture: str, *, precision: str) -> StepCounter:
    """One step of the trainer on the CPU, counted."""
    job = training_job(architecture, batch=COUNTED_ROWS, precision=precision)
    for number in range(WARM):
        job.step(number, job.steps[number])
    prepared = job.steps[WARM]
    with counting() as counter:
        job.step(WARM, prepared)
    return counter
