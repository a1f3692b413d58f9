"""An image tower in two parts: the blocks that do not learn, whose output can be kept, and what comes behind them.

The output of the first blocks of a picture is a *feature*: it stays the same as long as these blocks do, so it is
computed once. Read on from it, the tower gives the very tokens that it gives for the picture.
"""

from __future__ import annotations

from itertools import takewhile

import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models import is_model, model_entrypoint
from timm.models.efficientnet import EfficientNet
from timm.models.vision_transformer import VisionTransformer as TimmTransformer
from torch import nn

from entityclip.errors import ConfigError
from entityclip.model.image_towers import ImageTower, image_blocks, timm_tokens, vit_tokens
from entityclip.model.tokens import TowerOutput

CUT = EfficientNet, TimmTransformer
"""Trunks of timm that are known between their blocks."""


def keeps_features(timm_model: str) -> bool:
    """Whether the features of a timm tower with this name can be kept."""
    return is_model(timm_model) and model_entrypoint(timm_model).__module__ in {kind.__module__ for kind in CUT}


def frozen_blocks(tower: ImageTower) -> int:
    """How many of the first blocks do not learn; 0 where something in front of them does.

    Raises:
        ConfigError: The tower cannot be cut between its blocks.
    """
    blocks = _blocks(tower)
    inside = {id(weight) for block in blocks for weight in block.parameters()}
    behind = {id(weight) for module in behind_blocks(tower) for weight in module.parameters()}
    if any(w.requires_grad for w in tower.parameters() if id(w) not in inside and id(w) not in behind):
        return 0
    return len(list(takewhile(lambda block: not any(w.requires_grad for w in block.parameters()), blocks)))


def image_features(tower: ImageTower, pictures: torch.Tensor, *, blocks: tuple[int, ...]) -> list[torch.Tensor]:
    """(B, 3, S, S) normalised pictures -> the output of the first ``blocks`` blocks, for each such number, rising."""
    found, done, x = [], 0, _stem(tower, pictures)
    for count in blocks:
        for block in _blocks(tower)[done:count]:
            x = block(x)
        found.append(x)
        done = count
    return found


def tokens_of_features(tower: ImageTower, features: torch.Tensor, *, blocks: int) -> TowerOutput:
    """What ``image_tokens`` gives for the pictures whose ``image_features`` these are."""
    x = features
    for block in _blocks(tower)[blocks:]:
        x = block(x)
    tokens = vit_tokens(tower, x) if isinstance(tower, VisionTransformer) else timm_tokens(tower, _tail(tower, x))
    at = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
    return TowerOutput(tokens, at, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))


def behind_blocks(tower: ImageTower) -> list[nn.Module]:
    """The parts of the tower through which the output of its last block goes: norms, pooling, projections."""
    parts = tower.trunk if isinstance(tower, TimmModel) else tower
    names, last = dict(parts.named_children()), {id(module) for module in image_blocks(tower)[-1].modules()}
    holders = [n for n, module in enumerate(names.values()) if last & {id(inner) for inner in module.modules()}]
    behind = list(names.values())[holders[-1] + 1 :]
    return [*behind, tower.head] if isinstance(tower, TimmModel) else behind


# ---------------------------------------------------------------- kinds of towers
def _blocks(tower: ImageTower) -> list[nn.Module]:
    if not isinstance(tower, VisionTransformer) and not (isinstance(tower, TimmModel) and type(tower.trunk) in CUT):
        kind = tower.trunk if isinstance(tower, TimmModel) else tower
        raise ConfigError(
            f"adaptation.views: features of a {type(kind).__name__} cannot be kept; expected a ViT or an "
            "EfficientNet, or views 0"
        )
    return image_blocks(tower)


def _stem(tower: ImageTower, pictures: torch.Tensor) -> torch.Tensor:
    """What stands in front of the first block."""
    _blocks(tower)
    if isinstance(tower, VisionTransformer):
        return tower._embeds(pictures)
    trunk = tower.trunk
    if isinstance(trunk, TimmTransformer):
        return trunk.norm_pre(trunk.patch_drop(trunk._pos_embed(trunk.patch_embed(pictures))))
    return trunk.bn1(trunk.conv_stem(pictures))


def _tail(tower: TimmModel, features: torch.Tensor) -> torch.Tensor:
    """What the trunk does between its last block and its head."""
    trunk = tower.trunk
    if isinstance(trunk, TimmTransformer):
        return trunk.norm(features)
    return trunk.bn2(trunk.conv_head(features))
