"""What CUDA graphs leave for the host of a step to launch, counted without a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_unflatten


class Replays:
    """How often a part of a step ran as one, forward or backward."""

    def __init__(self) -> None:
        self.count = 0

    def reset(self) -> None:
        """Count from 0 again."""
        self.count = 0


@contextmanager
def graphs_stand_in() -> Iterator[Replays]:
    """While the block runs, ``torch.cuda.make_graphed_callables`` gives what computes the same numbers on any device,
    with gradients for the same weights; a counter of operations sees none of its own.
    """
    replays = Replays()

    def graphed(part: nn.Module, sample: tuple[Any, ...], **options: Any) -> nn.Module:  # noqa: ARG001 (PyTorch's)
        weights, compute = list(part.parameters()), part.forward
        with torch.no_grad():
            outputs = tree_flatten(compute(*sample))[1]

        def replay(*inputs: Any) -> Any:
            leaves, shape = tree_flatten(inputs)

            def run(rows: list[torch.Tensor]) -> list[torch.Tensor]:
                replays.count += 1
                return tree_flatten(compute(*tree_unflatten(rows, shape)))[0]

            return tree_unflatten(list(_AsOne.apply(run, replays, len(leaves), *leaves, *weights)), outputs)

        part.forward = replay
        return part

    with mock.patch.object(torch.cuda, "make_graphed_callables", graphed):
        yield replays


class _AsOne(torch.autograd.Function):
    """A computation and its gradient, hidden from what counts operations."""

    @staticmethod
    def forward(
        ctx: Any,
        run: Callable[[list[torch.Tensor]], list[torch.Tensor]],
        replays: Replays,
        count: int,
        *tensors: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        with _disable_current_modes(), torch.enable_grad():
            rows = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in tensors[:count]]
            ctx.sources, ctx.results, ctx.replays = (*rows, *tensors[count:]), run(rows), replays
        return tuple(result.detach() for result in ctx.results)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        ctx.replays.count += 1
        pairs = [(r, g) for r, g in zip(ctx.results, gradients, strict=True) if r.requires_grad]
        learning = [source for source in ctx.sources if source.requires_grad]
        with _disable_current_modes():
            found = iter(torch.autograd.grad([r for r, _ in pairs], learning, [g for _, g in pairs], allow_unused=True))
        given = [next(found) if source.requires_grad else None for source in ctx.sources]
        return (None, None, None, *given)
