"""Which weights learn, and how fast: full fine-tuning, the last blocks, the heads alone, or low-rank updates."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import nn

from entityclip.errors import ConfigError
from entityclip.model.entityclip import EntityCLIP
from entityclip.model.frozen_part import behind_blocks
from entityclip.model.image_towers import image_blocks
from entityclip.model.text_towers import text_blocks
from entityclip.training.config import Adaptation, TrainConfig
from entityclip.training.first_projection import fresh_projection

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
        for module in behind_blocks(model.visual):
            module.requires_grad_(True)
    if config.text == "all":
        model.text.requires_grad_(True)
    if config.towers == "lora":
        return _low_rank(model, config).merge_and_unload
    return lambda: None


def tower_weights(model: EntityCLIP) -> list[nn.Parameter]:
    """Weights of the image tower that learn and are no way into the joint space: frozen in the first epochs."""
    named = [(name.split("."), weight) for name, weight in model.visual.named_parameters() if weight.requires_grad]
    return [weight for parts, weight in named if parts[0] not in HEADS]


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
    depths = _depths(model) if config.adaptation.layer_decay < 1 else {}
    projection = fresh_projection(model)
    rates = {} if projection is None else {id(projection.weight): config.adaptation.projection_rate}
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            slower = config.adaptation.tower_rate * config.adaptation.layer_decay ** depths.get(id(parameter), 0)
            scale = slower if name in model.loaded else rates.get(id(parameter), 1.0)
            groups.setdefault((parameter.ndim > 1, scale), []).append(parameter)
    settings = [
        {"params": parameters, "weight_decay": config.decay * matrix, "scale": scale}
        for (matrix, scale), parameters in groups.items()
    ]
    return torch.optim.AdamW(settings, lr=config.learning_rate, betas=config.betas, eps=config.epsilon, fused=True)


def _depths(model: EntityCLIP) -> dict[int, int]:
    """Identity of a weight of the towers -> how many blocks the output of its own block still goes through."""
    depths: dict[int, int] = {}
    towers: list[tuple[nn.Module, list[nn.Module], list[nn.Module]]] = [
        (model.visual, image_blocks(model.visual), behind_blocks(model.visual)),
        (model.text, text_blocks(model.text), []),
    ]
    for tower, blocks, behind in towers:
        depths |= {id(weight): len(blocks) for weight in tower.parameters()}  # the stem
        for above, block in enumerate(reversed(blocks)):
            depths |= {id(weight): above for weight in block.parameters()}
        depths |= {id(weight): 0 for module in behind for weight in module.parameters()}
        heads = [weight for name, weight in tower.named_parameters() if name.split(".")[0] in HEADS]
        depths |= {id(weight): 0 for weight in heads}
    return depths
