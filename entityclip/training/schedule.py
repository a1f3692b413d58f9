"""Which rows each step of a run has, and at which share of its learning rate it is made."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch
from torch.utils.data import Dataset

from entityclip.errors import ConfigError
from entityclip.model.distributed import process, processes
from entityclip.training import batches
from entityclip.training.batches import Preparation, PreparedBatch, TrainingSet
from entityclip.training.config import TrainConfig
from entityclip.training.frozen_features import FrozenFeatures

TEXT_LENGTHS = (16, 32, 48, 77)
"""Numbers of tokens that the texts of a batch are padded to on a GPU, or where the towers are compiled; beyond the last
one, to the context. Elsewhere they are padded to the longest: there, padding costs more than another shape."""


class Steps(Dataset[PreparedBatch]):
    """The batches of a run by the number of their step, whichever worker prepares them; of each, this process's share.

    A batch that the processes cannot share evenly loses its last rows.

    Raises:
        ConfigError: A batch has fewer rows than there are processes.
    """

    def __init__(self, config: TrainConfig, training: TrainingSet) -> None:
        self.config, self.training = config, training
        few_shapes = config.compile or config.device == "cuda"
        self.tokenizer = config.tokenisation.load(lengths=TEXT_LENGTHS if few_shapes else ())
        self.process, self.processes = process(), processes()
        self.features: dict[bool, FrozenFeatures] = {}
        """Kept features that stand in for pictures: in the first epochs, with a frozen tower (True), and after them."""
        self.plan: list[tuple[int, np.ndarray]] = [
            (epoch, rows[: len(rows) // self.processes * self.processes])
            for epoch in range(config.epochs)
            for rows in batches.order(
                training,
                batch=config.batch,
                balance=config.balance,
                siblings=config.siblings,
                epoch=epoch,
                seed=config.seed,
            )
        ]
        if not all(len(rows) for _, rows in self.plan):
            raise ConfigError(
                f"{self.processes} processes, batch {config.batch}, {len(training)} pairs: the smallest batch has none "
                "for some process; expected fewer processes, or a larger batch"
            )
        texts = self._most_entities() if few_shapes else 0
        self._how = Preparation(self.tokenizer, config.augmentation, texts)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, step: int) -> PreparedBatch:
        return batches.prepare_batch(
            self.training,
            self.plan[step][1],
            self._how,
            generator=self.generator(step),
            share=self.share(step),
            features=self.features.get(self.probes(step)),
        )

    def _most_entities(self) -> int:
        """Of the step that has most in this process."""
        shares = (rows[self.share(step)] for step, (_, rows) in enumerate(self.plan))
        return max(len(np.unique(self.training.entities[rows])) for rows in shares)

    def share(self, step: int) -> slice:
        """This process's rows among those of a step."""
        each = len(self.plan[step][1]) // self.processes
        return slice(self.process * each, (self.process + 1) * each)

    def generator(self, step: int) -> torch.Generator:
        """Random generator of a step."""
        return torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)

    def probes(self, step: int) -> bool:
        """Whether ``step`` belongs to the first epochs, in which the image tower is frozen."""
        return self.plan[step][0] < self.config.adaptation.probe_epochs

    @cached_property
    def probe(self) -> int:
        """Number of steps in those epochs."""
        return sum(epoch < self.config.adaptation.probe_epochs for epoch, _ in self.plan)

    def done(self, step: int) -> float:
        """How much of its part of the run lies before ``step``: each part has a schedule of its own."""
        return step / self.probe if step < self.probe else (step - self.probe) / (len(self) - self.probe)

    def ends_epoch(self, step: int) -> bool:
        """Whether ``step`` is the last of its epoch."""
        return step + 1 == len(self.plan) or self.plan[step + 1][0] != self.plan[step][0]


def rate_share(done: float, *, warmup: float) -> float:
    """Share of the highest rate at ``done`` of the run: linear rise, then a cosine down to 1 %."""
    if done < warmup:
        return done / warmup + 1e-3
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup))) / 2
