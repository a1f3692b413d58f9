"""Rows of all processes side by side, with gradients: N processes see one batch (after torch.distributed)."""

from __future__ import annotations

import torch
import torch.distributed as dist


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process() -> int:
    """Number of this one, from 0."""
    return dist.get_rank() if processes() > 1 else 0


def gather(rows: torch.Tensor, *, dim: int = 0) -> torch.Tensor:
    """The rows of every process, in the order of the processes; every process must bring as many.

    Gradients flow back to the process that a row came from: the sum of what all processes found. Averaged over the
    processes, as data-parallel training does, a loss that every process computes on all rows then has the gradient
    that one process would have found.
    """
    if processes() == 1:
        return rows
    return _Gather.apply(rows.transpose(0, dim).contiguous()).transpose(0, dim)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(_: torch.autograd.function.FunctionCtx, rows: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(rows) for _ in range(processes())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(_: torch.autograd.function.FunctionCtx, grad: torch.Tensor) -> torch.Tensor:
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad.chunk(processes())[process()]
