"""CUDA graphs of a step: of each tower and of the loss, the forward pass is one launch of the host, and the backward
pass another.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map
from tqdm import tqdm

from entityclip.model.config import LossConfig
from entityclip.model.distributed import processes
from entityclip.model.entityclip import Batch, EntityCLIP, Read
from entityclip.model.tokens import TowerOutput
from entityclip.training.config import TrainConfig

BESIDE_THREADS = "capture_error_mode" in inspect.signature(torch.cuda.make_graphed_callables).parameters
"""Whether PyTorch can capture a graph while another thread pins batches; else that thread would fail."""


def obstacle(config: TrainConfig) -> str:
    """Why a compiled run of this process has no CUDA graphs; empty if it has."""
    reasons = {
        f"device {config.device}": config.device != "cuda",
        f"{processes()} processes": processes() > 1,
        "grad_cache_chunk reads a tower several times in a step": config.grad_cache_chunk > 0,
        "checkpoint_gradients reads a block twice": config.checkpoint_gradients,
        f"PyTorch {torch.__version__} cannot capture them while batches are pinned; 2.14 can": not BESIDE_THREADS,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


class StepGraphs:
    """The loss of a batch as ``EntityCLIP`` computes it, by one graph for each tower and one for the experts and terms.

    A graph is captured for each new shape of what goes in. What comes out of it, gradients too, lies in its own memory
    and is valid until it is replayed; a step replays each one once. If a capture fails, the model goes on without
    graphs, and the reason is written once.

    Args:
        model: Captured with the weights that it has then, and with which of them learn.
    """

    def __init__(self, model: EntityCLIP) -> None:
        self._model = model
        self._graphs: dict[tuple[object, ...], Callable[..., Any]] = {}
        self.failure = ""
        """Why there are no graphs; empty as long as there are."""

    def __len__(self) -> int:
        """Number of graphs."""
        return len(self._graphs)

    def losses(self, batch: Batch, *, config: LossConfig) -> dict[str, torch.Tensor]:
        """As ``EntityCLIP.losses``."""
        read = tuple(filter(None, self._model.read(batch, config=config, towers=self)))
        unread = dict.fromkeys(("pictures", "captions", "explanations"), batch.entities)  # by the terms

        def terms(read: tuple[TowerOutput, ...], batch: Batch) -> dict[str, torch.Tensor]:
            return self._model.losses_of(Read(*read), batch, config=config)

        part = _Part(terms, self._model.mmae, self._model.logit_scale)
        return self._replay(part, read, batch._replace(**unread))

    def batch_tokens(self, pictures: torch.Tensor) -> TowerOutput:
        """As ``EntityCLIP.batch_tokens``."""
        return self._replay(_Part(self._model.batch_tokens, self._model.visual), pictures)

    def text_tokens(self, ids: torch.Tensor) -> TowerOutput:
        """As ``EntityCLIP.text_tokens``."""
        return self._replay(_Part(self._model.text_tokens, self._model.text), ids)

    def _replay(self, part: _Part, *inputs: Any) -> Any:
        place = (part.compute.__name__, *(leaf.shape for leaf in tree_leaves(inputs)))
        if not self.failure and place not in self._graphs:
            try:
                self._graphs[place] = self._captured(part, inputs)
            except Exception as error:  # no memory for it, or a tower that waits for the device
                self.failure = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
                self._graphs.clear()
                tqdm.write(f"compile: no CUDA graphs, the steps go on without: {self.failure}")
        return self._graphs.get(place, part)(*inputs)

    def _captured(self, part: _Part, inputs: tuple[Any, ...]) -> Callable[..., Any]:
        """The part for inputs of these shapes; statistics of batch norms stay as they are."""
        kind, buffers = self._model.logit_scale.device.type, list(part.buffers())
        before = [buffer.clone() for buffer in buffers]
        mode: dict[str, Any] = {"capture_error_mode": "thread_local"} if BESIDE_THREADS else {}
        enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        sample = tree_map(lambda leaf: leaf.detach().clone().requires_grad_(leaf.requires_grad), inputs)
        try:
            with torch.autocast(kind, dtype, enabled=enabled, cache_enabled=False):
                return torch.cuda.make_graphed_callables(part, sample, allow_unused_input=True, **mode)
        finally:  # also where it fails: it may have read the sample before
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)


class _Part(nn.Module):
    """What is computed, and the weights that it is computed with: a graph's backward pass gives gradients to these."""

    def __init__(self, compute: Callable[..., Any], module: nn.Module, *weights: nn.Parameter) -> None:
        super().__init__()
        self.compute = compute
        self.module = module
        self.weights = nn.ParameterList(weights)

    def forward(self, *inputs: Any) -> Any:
        return self.compute(*inputs)
