"""The weights between those of a frozen tower and those of a trained one (WiSE-FT, arXiv 2109.01903).

Fine-tuning on a few pictures forgets part of what the tower knew. The straight line between both sets of weights holds
better ones than its ends; how far to go on it is read from the validation pictures.
"""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list
from safetensors.torch import load_file

from entityclip.model.checkpoint import save_tensors
from entityclip.training.best_checkpoint import Best
from entityclip.training.resume_state import put_weights, whole_state
from entityclip.training.step import TrainingJob

SHARES = (1.0, 0.75, 0.5, 0.25)
"""Of the trained weights; the rest is the start's."""


def keep_start(job: TrainingJob, path: Path) -> None:
    """Keep the weights, or their mean, with which the image tower begins to learn; every process has to call it."""
    with job.average.shown():
        weights = whole_state(job.wrapped)
        if job.accelerator.is_main_process:
            save_tensors(path, weights)


@torch.no_grad()
def interpolate(job: TrainingJob, validation: Best, start: Path) -> float:
    """Give the job the weights with the lowest validation loss on the line; the share of the trained ones in them.

    Every process has to call it.
    """
    job.average.swap()
    first = load_file(start)
    (whole,) = broadcast_object_list([whole_state(job.wrapped)])  # only the first process has them
    trained = {name: value.clone() for name, value in whole.items()}
    losses = {}
    for share in SHARES:
        put_weights(job.wrapped, _between(first, trained, share))
        losses[share] = validation.measure(job)
    best = min(SHARES, key=lambda share: losses[share])
    put_weights(job.wrapped, _between(first, trained, best))
    job.average.begin()
    return best


def _between(first: dict[str, torch.Tensor], trained: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    return {
        name: torch.lerp(first[name], value, share) if value.is_floating_point() else value
        for name, value in trained.items()
    }
