"""Gradient checkpointing: activations of a block are computed again in the backward pass instead of kept."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import MethodType
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(block: nn.Module) -> None:
    """From now on ``block`` keeps its inputs alone. Outputs, gradients and running statistics stay the same."""
    block.forward = MethodType(_forward, block)


def _forward(block: nn.Module, *inputs: Any, **named: Any) -> Any:
    run = partial(type(block).forward, block)
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    if not norms:  # torch.compile knows no contexts of ours
        return checkpoint(run, *inputs, use_reentrant=False, **named)
    return checkpoint(run, *inputs, use_reentrant=False, context_fn=partial(_contexts, norms), **named)


def _contexts(norms: list[_BatchNorm]) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Of the forward pass, and of the second one in the backward pass."""
    return nullcontext(), _StatisticsKept(norms)


class _StatisticsKept:
    """The batch has been counted already: running statistics are afterwards as before. May be entered again."""

    def __init__(self, norms: list[_BatchNorm]) -> None:
        self._statistics = [buffer for norm in norms for buffer in norm.buffers()]

    def __enter__(self) -> None:
        self._before = [buffer.clone() for buffer in self._statistics]

    def __exit__(self, *_: object) -> None:
        for buffer, before in zip(self._statistics, self._before, strict=True):
            buffer.copy_(before)
