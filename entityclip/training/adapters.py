"""Which weights learn, and how fast: full fine-tuning, the last blocks, the heads alone, or low-rank updates."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import nn

from entityclip.errors import ConfigError
from entityclip.model.entityclip import EntityCLIP
from entityclip.training.config import Adaptation, TrainConfig

HEADS = frozenset({"proj", "text_projection", "ln_post", "ln_final", "attnpool", "attn_pool", "head"})
"""Parts of open_clip's towers behind their blocks: the way into the joint space."""


def adapt(model: EntityCLIP, config: Adaptation) -> Callable[[], None]:
    """Freeze what does not learn; low-rank updates are put beside the frozen matrices.

    Returns:
        What to call after the last step: it merges the updates into the weights that they belong to.

    Raises:
        ConfigError: ``peft`` is not installed.
    """
    fresh = model.fresh()
    for name, parameter in model.named_parameters():
        tower, part = name.split(".")[:2] if "." in name else ("", "")
        inside = tower in ("visual", "text") and part not in HEADS and name not in fresh
        frozen = config.towers != "all" and inside
        parameter.requires_grad_(not frozen)
    if config.towers == "last":
        for blocks in model.blocks():
            for block in blocks[-config.blocks :]:
                block.requires_grad_(True)
    if config.towers == "lora":
        return _low_rank(model, config).merge_and_unload
    return lambda: None


def train_mode(model: nn.Module) -> None:
    """Put what learns into training mode. A module whose weights are all frozen goes into evaluation mode: dropout is
    off, and batch norm keeps its statistics.
    """
    model.train()
    for module in model.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()


def _low_rank(model: EntityCLIP, config: Adaptation) -> Any:
    """A trainable update of low rank beside every matrix of the towers' blocks (LoRA, arXiv 2106.09685)."""
    try:
        from peft import LoraConfig, LoraModel
    except ImportError as error:
        raise ConfigError("adaptation 'lora' needs the package peft: pip install 'entityclip[train]'") from error
    towers = nn.ModuleDict({"visual": model.visual, "text": model.text})  # peft takes a 'config' for its own kind
    inside = {id(module) for block in chain(*model.blocks()) for module in block.modules()}
    targets = [
        name
        for name, module in towers.named_modules()
        if id(module) in inside and type(module) in (nn.Linear, nn.MultiheadAttention)
    ]
    learning = [parameter for parameter in towers.parameters() if parameter.requires_grad]
    tuner = LoraModel(towers, LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=targets), "default")
    for parameter in learning:  # peft freezes everything but its own
        parameter.requires_grad_(True)
    return tuner


def optimizer(model: EntityCLIP, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over what learns; gains, biases and the temperature do not decay, pretrained weights go slower.

    A group's ``scale`` is its share of the learning rate.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            tower = name in model.loaded
            groups.setdefault((parameter.ndim > 1, tower), []).append(parameter)
    settings = [
        {"params": parameters, "weight_decay": config.decay * matrix, "scale": slower if tower else 1.0}
        for (matrix, tower), parameters in groups.items()
        for slower in [config.adaptation.tower_rate]
    ]
    return torch.optim.AdamW(settings, lr=config.learning_rate, betas=(0.9, 0.98), eps=1e-6, fused=True)
