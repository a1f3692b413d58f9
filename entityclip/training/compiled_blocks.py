"""The towers' blocks, compiled: once for each shape, and within a limit of time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

BACKEND = "inductor"
MOST_SECONDS = 60.0
"""Seconds of compilation after which a run goes on with the kernels that it has."""
MOST_KERNELS = 64
"""Shapes and modes that may be compiled; PyTorch's own limit is 8, and all blocks of both towers count together."""


def keep_kernels(folder: Path) -> None:
    """Let PyTorch keep what it compiles in ``folder``, and find it there again; for the whole process."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


class CompiledBlocks:
    """Blocks that are compiled when they first meet a shape; blocks of one kind share what is compiled."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        import torch._dynamo  # slow to load, so not where nothing is compiled

        torch._dynamo.config.recompile_limit = MOST_KERNELS
        for block in blocks:
            block.compile(backend=BACKEND, dynamic=False)
        self._before = _seconds()
        self._limited = False

    @property
    def seconds(self) -> float:
        """Seconds of compilation so far."""
        return _seconds() - self._before

    def within_limit(self) -> AbstractContextManager[None]:
        """Compile what is new while the block runs; beyond MOST_SECONDS, compute it uncompiled, and say so once."""
        if not self._limited and self.seconds > MOST_SECONDS:
            self._limited = True
            tqdm.write(
                f"compile: {self.seconds:.0f} s are more than {MOST_SECONDS:.0f} s; from here on, shapes that are new "
                "are computed uncompiled. The next run finds what was compiled"
            )
        return torch.compiler.set_stance("eager_on_recompile") if self._limited else nullcontext()


def _seconds() -> float:
    from torch._dynamo.utils import calculate_time_spent

    return calculate_time_spent()["total_wall_time"]
