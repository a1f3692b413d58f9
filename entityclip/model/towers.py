"""The two towers, by open_clip, opened up so that every token comes out in the joint width D."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import open_clip
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import TextTransformer, VisionTransformer
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from entityclip.errors import ConfigError
from entityclip.records import Record

ARCHITECTURES = Path(__file__).parents[1] / "architectures"


class TowerConfig(Record):
    """Which towers, and where their first weights come from."""

    architecture: str = Field(
        default="entityclip-small", description="An open_clip architecture, or one of entityclip/architectures."
    )
    pretrained: str | None = Field(default=None, description="open_clip tag or local file; None starts from scratch.")
    mean_pool: bool = Field(
        default=False, description="ResNet towers: mean pooling instead of attention pooling; any picture size."
    )


class Tokens(NamedTuple):
    """What a tower gives: every token in the joint width, the pooled position of each row, what is no padding."""

    tokens: torch.Tensor  # (B, L, D)
    at: torch.Tensor  # (B,) int64: class token or end of text
    mask: torch.Tensor  # (B, L) bool: True where there is something to attend to

    def pooled(self) -> torch.Tensor:
        """(B, D): the vector that retrieval uses, not normalised."""
        return self.tokens[torch.arange(len(self.at), device=self.at.device), self.at]

    def rows(self, index: torch.Tensor) -> Tokens:
        """The rows at ``index``, in its order; rows may repeat."""
        return Tokens(self.tokens[index], self.at[index], self.mask[index])


class MeanPool(nn.Module):
    """Mean over positions, then a projection to D; the same projection serves every position."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, dim, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, D)."""
        return self.projection(features.mean(dim=(2, 3)))


@contextmanager
def _without_warning(*, unless: bool) -> Iterator[None]:
    """open_clip warns of random weights; here they were asked for, or a checkpoint fills them next."""
    before = logging.root.manager.disable
    logging.disable(before if unless else logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _gives_tokens(tower: nn.Module) -> bool:
    """Whether the position that is read is the vector that open_clip itself would give."""
    if isinstance(tower, TextTransformer):
        return tower.pool_type == "argmax" and tower.cls_emb is None and isinstance(tower.text_projection, nn.Parameter)
    if isinstance(tower, VisionTransformer):
        known = tower.pool_type == "tok" and tower.attn_pool is None and not tower.final_ln_after_pool
        return known and tower.proj is not None
    return isinstance(tower, ModifiedResNet)


class Towers(nn.Module):
    """An open_clip model whose towers give tokens.

    Raises:
        ConfigError: The architecture is unknown, its weights do not load, or its towers are of a kind
            whose tokens this class does not know how to reach.
    """

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        open_clip.add_model_config(ARCHITECTURES)
        settings = open_clip.get_model_config(config.architecture)
        if settings is None:
            raise ConfigError(
                f"architecture {config.architecture!r} is unknown to open_clip and not in {ARCHITECTURES.name}/"
            )
        try:
            with _without_warning(unless=config.pretrained is not None):
                clip = open_clip.create_model(
                    config.architecture,
                    pretrained=config.pretrained,
                    require_pretrained=config.pretrained is not None,
                    force_custom_text=True,
                )
        except (RuntimeError, OSError, ValueError) as error:
            raise ConfigError(f"{config.architecture} with weights {config.pretrained!r}: {error}") from error
        self.dim: int = settings["embed_dim"]
        self.visual, self.text, self.logit_scale = clip.visual, clip.text, clip.logit_scale
        for what, tower in (("text", self.text), ("image", self.visual)):
            if not _gives_tokens(tower):
                raise ConfigError(
                    f"{config.architecture}: its {what} tower pools in a way whose tokens are not known here"
                )
        if isinstance(self.visual, ModifiedResNet) and config.mean_pool:
            self.visual.attnpool = MeanPool(self.visual.layer4[-1].conv3.out_channels, self.dim)

    def image_tokens(self, pictures: torch.Tensor) -> Tokens:
        """(B, 3, S, S) normalised pictures -> tokens (B, 1 + positions, D), the class token first."""
        if isinstance(self.visual, VisionTransformer):
            x = self.visual.transformer(self.visual._embeds(pictures))
            tokens = self.visual.ln_post(x) @ self.visual.proj
        else:
            tokens = self._resnet_tokens(pictures)
        at = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
        return Tokens(tokens, at, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))

    def _resnet_tokens(self, pictures: torch.Tensor) -> torch.Tensor:
        net = self.visual
        features = net.layer4(net.layer3(net.layer2(net.layer1(net.stem(pictures)))))  # (B, C, H, W)
        positions = features.flatten(2).transpose(1, 2)  # (B, H*W, C)
        pool = net.attnpool
        if isinstance(pool, MeanPool):
            joint = pool.projection(positions)
            return torch.cat([joint.mean(dim=1, keepdim=True), joint], dim=1)
        return torch.cat([pool(features)[:, None], pool.c_proj(pool.v_proj(positions))], dim=1)

    def text_tokens(self, ids: torch.Tensor) -> Tokens:
        """(B, L) token ids padded with 0 -> tokens (B, L, D); the last id of a row is its largest (end of text)."""
        tower, length = self.text, ids.shape[1]
        mask = None if tower.attn_mask is None else tower.attn_mask[:length, :length]
        x = tower.token_embedding(ids) + tower.positional_embedding[:length]
        tokens = tower.ln_final(tower.transformer(x, attn_mask=mask)) @ tower.text_projection
        at = ids.argmax(dim=1)
        return Tokens(tokens, at, torch.arange(length, device=ids.device) <= at[:, None])

    def encode_image(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) -> (B, D), unit length."""
        return F.normalize(self.image_tokens(pictures).pooled(), dim=-1)

    def encode_text(self, ids: torch.Tensor) -> torch.Tensor:
        """(B, L) -> (B, D), unit length."""
        return F.normalize(self.text_tokens(ids).pooled(), dim=-1)
