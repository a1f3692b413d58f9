"""The weights with the lowest validation loss, kept beside a run (published recipe, section on implementation)."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from entityclip.data.preprocessing import Augmentation
from entityclip.model.checkpoint import save_tensors
from entityclip.training.batches import TrainingSet
from entityclip.training.config import TrainConfig
from entityclip.training.resume_state import put_weights, whole_state
from entityclip.training.schedule import Steps
from entityclip.training.step import TrainingJob

STILL = Augmentation(crop=1, rotate=0, flip=False, light=0, saturation=0)


class Best:
    """Remembers the best epoch in a file, so that a killed run does as well."""

    def __init__(self, config: TrainConfig, validation: TrainingSet, path: Path) -> None:
        self.path, self.loss = path, math.inf
        still = config.adaptation.model_copy(update={"probe_epochs": 0})
        once = {"epochs": 1, "balance": 0.0, "augmentation": STILL, "adaptation": still}
        self._steps = Steps(config.model_copy(update=once), validation)
        if path.is_file():
            with safe_open(path, framework="pt") as file:
                self.loss = float(file.metadata()["loss"])

    @torch.no_grad()
    def offer(self, job: TrainingJob) -> float:
        """The validation loss of the weights as they are, or of their mean; kept if none before was lower."""
        with job.average.shown():
            loss = self.measure(job)
            if loss < self.loss:
                self.loss, weights = loss, whole_state(job.wrapped)
                if job.accelerator.is_main_process:
                    save_tensors(self.path, weights, metadata={"loss": str(loss)})
        return loss

    def restore(self, job: TrainingJob) -> None:
        """Put the weights of the best epoch back; every process has to call it."""
        job.accelerator.wait_for_everyone()
        put_weights(job.wrapped, load_file(self.path))
        with torch.no_grad():
            job.average.begin()
        job.accelerator.wait_for_everyone()  # the first process deletes the file next

    @torch.no_grad()
    def measure(self, job: TrainingJob) -> float:
        """The validation loss of the weights as they are."""
        job.wrapped.eval()
        behind, job.model.features_behind = job.model.features_behind, None  # validation reads pictures
        losses = []
        for number in range(len(self._steps)):
            prepared = self._steps[number]
            batch = prepared.batch(preprocessing=job.config.preprocessing, device=job.accelerator.device)
            with job.uncompiled():
                loss = job.wrapped(batch, config=job.config.loss)["loss"]
            losses.append(job.accelerator.reduce(loss, "mean"))
        job.model.features_behind = behind
        job.train_mode()
        return sum(map(float, losses)) / len(losses)
