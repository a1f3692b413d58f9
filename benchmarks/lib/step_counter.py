"""Counts what a training step makes its device do: operations, casts, and waits of the host.

A wait is an operation after which a GPU's host cannot go on before the device has finished: a value is read, or the
shape of a result depends on values. On the CPU nothing waits, but the same operations are dispatched, so that they
can be counted there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten

READS = {
    aten._local_scalar_dense,  # item(), bool(), float(), int()
    aten.equal,
    aten.is_nonzero,
    aten.masked_select,
    aten.multinomial,  # checks its probabilities on the host
    aten.nonzero,
    aten.unique_consecutive,
    aten.unique_dim,
    aten._unique2,
}
"""Operations that wait, whatever their arguments."""

INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
"""Operations that wait if an index is boolean."""

FETCHES = {"torch.Tensor.cpu", "torch.Tensor.numpy", "torch.Tensor.__array__", "torch.Tensor.tolist"}
"""Functions that fetch values; on the CPU they dispatch nothing."""

SENDS = {"torch.tensor", "torch.as_tensor", "torch.Tensor.new_tensor"}
"""Functions that build a tensor from values of the host: it is copied to the device, and the host waits for that."""

IDLE = {
    aten._unsafe_view,
    aten.empty,
    aten.empty_like,
    aten.empty_strided,
    aten.new_empty,
    aten.new_empty_strided,
    aten.promote_types,
    torch.ops.profiler._record_function_enter_new,
    torch.ops.profiler._record_function_exit,
}
"""Operations that compute nothing, as views do."""


class StepCounter:
    """What was dispatched while it counted, by name."""

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        """Operations that start at least one kernel; views and allocations do not."""
        self.casts: Counter[str] = Counter()
        """Of these, copies to another type."""
        self.waits: Counter[str] = Counter()
        """Operations after which the host waits."""

    def totals(self) -> dict[str, int]:
        """``ops_per_step``, ``casts_per_step`` and ``host_waits`` of what was counted."""
        counted = {"ops_per_step": self.operations, "casts_per_step": self.casts, "host_waits": self.waits}
        return {name: sum(counter.values()) for name, counter in counted.items()}


@contextmanager
def counting() -> Iterator[StepCounter]:
    """Count while the block runs, backward passes and updates of an optimizer included."""
    counter = StepCounter()
    with _Functions(counter), _Operations(counter):
        yield counter


class _Functions(TorchFunctionMode):
    """What waits and can be seen in Python alone."""

    def __init__(self, counter: StepCounter) -> None:
        super().__init__()
        self._counter = counter

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = resolve_name(func) or ""
        sends = name in SENDS and (name.endswith("new_tensor") or kwargs.get("device") is not None)
        to_host = name == "torch.Tensor.to" and "cpu" in (*args[1:2], kwargs.get("device"))
        if name in FETCHES or sends or to_host:
            self._counter.waits[name] += 1
        return func(*args, **kwargs)


class _Operations(TorchDispatchMode):
    """Every operation, forward and backward."""

    def __init__(self, counter: StepCounter) -> None:
        super().__init__()
        self._counter = counter

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        packet, name = func.overloadpacket, str(func)
        if packet in READS or (packet in INDEXED and _boolean(args[1])):
            self._counter.waits[name] += 1
        if not func.is_view and packet not in IDLE:
            self._counter.operations[name] += 1
        if packet is aten._to_copy and kwargs.get("dtype", args[0].dtype) != args[0].dtype:
            self._counter.casts[name] += 1
        return func(*args, **kwargs)


def _boolean(indices: Iterable[torch.Tensor | None]) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)
