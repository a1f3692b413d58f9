"""The running mean of the weights: it generalises better than the last step's (Polyak and Juditsky, 1992)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

YOUNG = 10
"""Steps after which the mean forgets the first weights, whatever ``keep`` says: it keeps (1 + n) / (10 + n) at most."""


class Average:
    """Mean of a model's weights and of its norms' statistics over all steps, recent ones most.

    With ``keep`` 0 there is none, and nothing here does anything. Shards stay where they are: each process averages
    its own.
    """

    def __init__(self, model: nn.Module, *, keep: float) -> None:
        self._keep = keep
        state = model.state_dict() if keep else {}
        self._live = [value for value in state.values() if torch.is_tensor(value) and value.is_floating_point()]
        self._mean = [value.clone() for value in self._live]

    def __bool__(self) -> bool:
        return bool(self._mean)

    def add(self, step: int) -> None:
        """Take the weights after step number ``step`` into the mean."""
        keep = min(self._keep, (1 + step) / (YOUNG + step))
        if self._mean:
            torch._foreach_lerp_(self._mean, self._live, 1 - keep)

    def begin(self) -> None:
        """Let the mean be the weights as they are."""
        for mean, live in zip(self._mean, self._live, strict=True):
            mean.copy_(live)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The model has the mean for weights while the block runs, and its own ones after it."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def swap(self) -> None:
        """Let weights and mean change places."""
        for mean, live in zip(self._mean, self._live, strict=True):
            kept = live.clone()
            live.copy_(mean)
            mean.copy_(kept)
