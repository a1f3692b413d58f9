"""Image towers of open_clip, opened up: ``VisionTransformer``, ``ModifiedResNet`` and everything from timm.

The first token is the pooled vector, exactly as open_clip's own ``encode_image`` gives it; the others are the
positions of the picture, each projected into the joint width by the same head.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import nn

from entityclip.errors import ConfigError
from entityclip.model.tokens import TowerOutput

ImageTower: TypeAlias = VisionTransformer | ModifiedResNet | TimmModel


class MeanPool(nn.Module):
    """Mean over positions, then a projection to D; the same projection serves every position."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, dim, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, D)."""
        return self.projection(features.mean(dim=(2, 3)))


def require_known_image_tower(tower: ImageTower) -> None:
    """Refuse a tower whose pooled vector or tokens cannot be reached.

    Raises:
        ConfigError: The tower is of another kind, pools nothing, or wants pictures that are not square.
    """
    if not isinstance(tower, ImageTower):
        raise ConfigError(
            f"image tower {type(tower).__name__}: expected VisionTransformer, ModifiedResNet or TimmModel"
        )
    if isinstance(tower, VisionTransformer) and (tower.pool_type == "none" or tower.proj is None):
        pool = getattr(tower, "attn_pool_type", "") or tower.pool_type
        raise ConfigError(f"image tower with pooling {pool!r}: gives no single vector; use 'tok', 'avg' or true")
    if isinstance(tower, TimmModel) and "pool" not in dict(tower.head.named_children()):
        given = getattr(tower.trunk, "head_hidden_size", 0)
        first = next((layer for layer in tower.head.modules() if isinstance(layer, nn.Linear)), None)
        if first is not None and given and first.in_features != given:
            raise ConfigError(
                f"timm tower {type(tower.trunk).__name__}: gives {given} values, where open_clip projects "
                f"{first.in_features}; use another tower"
            )
    if isinstance(tower.image_size, tuple | list) and len(set(tower.image_size)) > 1:
        raise ConfigError(f"image_size {tower.image_size}: pictures are squares here; give one number")


def picture_size(tower: ImageTower) -> int | None:
    """Side of the only pictures that the tower takes, in pixels; None where any size does."""
    if isinstance(tower, TimmModel):
        patches: Any = getattr(tower.trunk, "patch_embed", None)
        return patches.img_size[0] if getattr(patches, "strict_img_size", False) else None
    if isinstance(tower, ModifiedResNet) and isinstance(tower.attnpool, MeanPool):
        return None
    return tower.image_size[0] if isinstance(tower.image_size, tuple | list) else tower.image_size


def image_tokens(tower: ImageTower, pictures: torch.Tensor) -> TowerOutput:
    """(B, 3, S, S) normalised pictures -> tokens (B, 1 + positions, D), the pooled vector first."""
    reader = next(reader for kind, reader in _READERS.items() if isinstance(tower, kind))
    tokens = reader(tower, pictures)
    at = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
    return TowerOutput(tokens, at, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))


def image_blocks(tower: ImageTower) -> list[nn.Module]:
    """The repeated blocks of the tower, from input to output.

    Raises:
        ConfigError: A timm tower whose blocks cannot be found.
    """
    if isinstance(tower, VisionTransformer):
        return list(tower.transformer.resblocks)
    if isinstance(tower, ModifiedResNet):
        return [block for stage in (tower.layer1, tower.layer2, tower.layer3, tower.layer4) for block in stage]
    for name in ("blocks", "stages", "layers"):
        if isinstance(blocks := getattr(tower.trunk, name, None), nn.Sequential | nn.ModuleList):
            return list(blocks)
    stages = [stage for name, stage in tower.trunk.named_children() if name[:-1] in ("layer", "stage", "s")]
    if not stages:
        raise ConfigError(f"timm tower {type(tower.trunk).__name__}: its blocks are not known here")
    return stages


# ---------------------------------------------------------------- one reader for each kind
def _vit_pictures(tower: VisionTransformer, pictures: torch.Tensor) -> torch.Tensor:
    return vit_tokens(tower, tower.transformer(tower._embeds(pictures)))


def vit_tokens(tower: VisionTransformer, features: torch.Tensor) -> torch.Tensor:
    """Output of the last block -> tokens (B, 1 + positions, D), the pooled vector first."""
    pooled, tokens = tower._pool(features)
    if tower.attn_pool is None and tower.final_ln_after_pool:
        tokens = tower.ln_post(tokens)  # open_clip normalises only what it pooled
    return torch.cat([pooled[:, None], tokens], dim=1) @ tower.proj


def _resnet_tokens(tower: ModifiedResNet, pictures: torch.Tensor) -> torch.Tensor:
    features = tower.layer4(tower.layer3(tower.layer2(tower.layer1(tower.stem(pictures)))))  # (B, C, H, W)
    positions = features.flatten(2).transpose(1, 2)  # (B, H*W, C)
    pool = tower.attnpool
    if isinstance(pool, MeanPool):
        joint = pool.projection(positions)
        return torch.cat([joint.mean(dim=1, keepdim=True), joint], dim=1)
    return torch.cat([pool(features)[:, None], pool.c_proj(pool.v_proj(positions))], dim=1)


def _timm_pictures(tower: TimmModel, pictures: torch.Tensor) -> torch.Tensor:
    return timm_tokens(tower, tower.trunk.forward_features(pictures))


def timm_tokens(tower: TimmModel, features: torch.Tensor) -> torch.Tensor:
    """What the trunk gives in front of its head -> tokens (B, 1 + positions, D), the pooled vector first.

    Whatever the head is, it reads each position as if this were a picture of its own.
    """
    trunk = tower.trunk
    pooled = tower.head(trunk.forward_head(features))
    if features.ndim == 3:
        prefix = getattr(trunk, "num_prefix_tokens", 0)
        positions = features[:, prefix:]
        # Pooling skips the class token and the registers, so each position stands in for them as well.
        alone = positions.flatten(0, 1)[:, None].expand(-1, 1 + prefix, -1)
    else:
        last = getattr(trunk, "output_fmt", "NCHW") == "NHWC"
        positions = features.flatten(1, 2) if last else features.flatten(2).transpose(1, 2)
        alone = positions.flatten(0, 1)
        alone = alone[:, None, None] if last else alone[:, :, None, None]
    joint = tower.head(trunk.forward_head(alone))
    return torch.cat([pooled[:, None], joint.unflatten(0, positions.shape[:2])], dim=1)


_READERS = {VisionTransformer: _vit_pictures, ModifiedResNet: _resnet_tokens, TimmModel: _timm_pictures}
