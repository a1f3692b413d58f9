"""The weights in bf16 that a step multiplies by, beside those in float32 that the optimizer updates.

Autocast makes the same copies, but one by one, in each forward and each backward pass: hundreds of small operations
that a GPU waits for. Here all weights are copied in one operation, and all gradients in another. What is computed stays
the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from open_clip.modified_resnet import AttentionPool2d
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import nn
from torch.nn.modules.conv import _ConvNd

from entityclip.model.entityclip import EntityCLIP
from entityclip.model.mmae import Experts

MULTIPLIED: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("weight", "bias"),
    _ConvNd: ("weight", "bias"),
    nn.MultiheadAttention: ("in_proj_weight", "in_proj_bias"),
    VisionTransformer: ("proj",),
    TextTransformer: ("text_projection",),
    Experts: ("q", "bq", "v", "bv", "o", "bo", "up", "bup", "down", "bdown"),
}
"""Kind of module -> those of its own weights that autocast would copy once in a step. ``Experts.k`` is not among them:
it is copied at each use, and the gradients of these copies are summed in float32."""


class WorkingWeights:
    """Copies in bf16 of the weights of MULTIPLIED, for a step that reads its batch at once."""

    def __init__(self, model: EntityCLIP) -> None:
        self._places = list(_places(model))
        known = {id(module._parameters[name]): module._parameters[name] for module, name in self._places}
        self._masters: list[torch.Tensor] = [weight for weight in known.values() if weight is not None]
        copies = [torch.empty_like(weight, dtype=torch.bfloat16) for weight in self._masters]
        self._copies: list[torch.Tensor] = [nn.Parameter(copy, requires_grad=False) for copy in copies]
        number = {id(weight): number for number, weight in enumerate(self._masters)}
        self._numbers = [number[id(module._parameters[name])] for module, name in self._places]

    @contextmanager
    def used(self) -> Iterator[None]:
        """The model computes with the copies while the block runs forward and backward; gradients are in the weights
        after it.
        """
        with torch.no_grad():
            torch._foreach_copy_(self._copies, self._masters)
        for copy, weight in zip(self._copies, self._masters, strict=True):
            copy.requires_grad_(weight.requires_grad)
        self._put(self._copies)
        try:
            yield
        finally:
            self._put(self._masters)
        self._give_gradients()

    def _put(self, weights: list[torch.Tensor]) -> None:
        for (module, name), number in zip(self._places, self._numbers, strict=True):
            module._parameters[name] = weights[number]  # type: ignore[assignment]

    def _give_gradients(self) -> None:
        found = [(w, c.grad) for w, c in zip(self._masters, self._copies, strict=True) if c.grad is not None]
        if not found:
            return
        whole = [torch.empty_like(weight) for weight, _ in found]
        torch._foreach_copy_(whole, [gradient for _, gradient in found])
        for (weight, _), gradient in zip(found, whole, strict=True):
            weight.grad = gradient
        for copy in self._copies:
            copy.grad = None


def _places(model: EntityCLIP) -> Iterator[tuple[nn.Module, str]]:
    """Modules and the names of their weights; but for the matrix by which open_clip's text tower knows its precision,
    and the one of a ResNet's pooling that is copied twice.
    """
    text, pool = model.text, getattr(model.visual, "attnpool", None)
    kept = [text.transformer.resblocks[0].mlp.c_fc] if isinstance(text, TextTransformer) else []
    kept += [pool.v_proj] if isinstance(pool, AttentionPool2d) else []
    for module in model.modules():
        names = {name for kind, names in MULTIPLIED.items() if isinstance(module, kind) for name in names}
        for name, weight in module._parameters.items():
            if name in names and weight is not None and module not in kept:
                yield module, name
