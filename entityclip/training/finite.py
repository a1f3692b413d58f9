"""Whether every step was finite, found on the device and read from time to time."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch


class Failure(NamedTuple):
    """A step whose loss or gradient was not finite."""

    step: int
    loss: float
    norm: float

    def __str__(self) -> str:
        if math.isfinite(self.loss):
            return f"the gradient is no longer finite (loss {self.loss:.4g})"
        return f"the loss is no longer finite ({self.loss})"


class FiniteCheck:
    """Remembers on the device the first step that was not finite."""

    def __init__(self, device: torch.device) -> None:
        self._seen = torch.zeros(3, dtype=torch.float64, device=device)  # as in Failure, of the step that counts
        self._failed = torch.zeros((), device=device)

    def add(self, step: int, loss: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
        """Note ``loss`` and gradient's ``norm``, scalars, of a step.

        Returns:
            A float32 scalar: 1 if this step or one before it was not finite. An optimizer whose ``found_inf`` it is
            changes nothing then.
        """
        number = torch.full((), step, dtype=torch.float64, device=self._seen.device)
        now = torch.stack([number, loss.double(), norm.double()])
        self._seen = torch.where(self._failed.bool(), self._seen, now)
        self._failed = (~self._seen.isfinite().all()).float()
        return self._failed

    def failure(self) -> Failure | None:
        """The first step that was not finite, if there was one. Waits for the device."""
        step, loss, norm = self._seen.tolist()
        finite = math.isfinite(loss) and math.isfinite(norm)
        return None if finite else Failure(int(step), loss, norm)
