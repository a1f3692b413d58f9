"""The two towers, by open_clip, opened up so that every token comes out in the joint width D."""

from __future__ import annotations

from pathlib import Path

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.modified_resnet import ModifiedResNet
from torch import nn
from torch.nn import functional as F

from entityclip.architectures import name_of, settings
from entityclip.errors import ConfigError
from entityclip.model.activation_checkpointing import recompute
from entityclip.model.config import TowerConfig
from entityclip.model.image_towers import (
    ImageTower,
    MeanPool,
    image_blocks,
    image_tokens,
    picture_size,
    require_known_image_tower,
)
from entityclip.model.text_towers import TextTower, longest_text, require_known_text_tower, text_blocks, text_tokens
from entityclip.model.tokens import TowerOutput
from entityclip.model.tower_weights import load_image_weights, load_text_weights, text_folder
from entityclip.model.weights import ClipModel, load_weights, weights_file


class Towers(nn.Module):
    """An open_clip model whose towers give tokens.

    Raises:
        ConfigError: The architecture is unknown, its weights do not load, or its towers are of a kind
            whose tokens cannot be reached.
    """

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.tower_config = config
        weights = weights_file(config.architecture, config.pretrained) if config.pretrained is not None else None
        clip = _built(config)
        self.visual: ImageTower = clip.visual
        self.text: TextTower = clip.text
        self.logit_scale: nn.Parameter = clip.logit_scale
        require_known_image_tower(self.visual)
        require_known_text_tower(self.text)
        self.dim: int = settings(config.architecture)["embed_dim"]
        if weights is not None:
            load_weights(clip, weights)
        self.loaded: frozenset[str] = self._loaded()
        """Names of the towers' parameters that came from first weights; the others start at random."""
        if isinstance(self.visual, ModifiedResNet) and config.mean_pool:
            self.visual.attnpool = MeanPool(self.visual.layer4[-1].conv3.out_channels, self.dim)

    def _loaded(self) -> frozenset[str]:
        """Load each tower's own weights; names of the parameters that are from these or from ``pretrained``."""
        config, fresh = self.tower_config, set()
        if config.image_weights is not None:
            fresh |= {f"visual.{name}" for name in load_image_weights(self.visual, config.image_weights)}
        if config.text_weights is not None:
            fresh |= {f"text.{name}" for name in load_text_weights(self.text, config.text_weights)}
        sources = {"visual": config.image_weights, "text": config.text_weights}
        filled = tuple(f"{tower}." for tower, own in sources.items() if own or config.pretrained)
        return frozenset(name for name, _ in self.named_parameters() if name.startswith(filled)) - fresh

    # ---------------------------------------------------------------- what they take
    @property
    def picture_size(self) -> int | None:
        """Side of the only pictures that the image tower takes, in pixels; None where any size does."""
        return picture_size(self.visual)

    @property
    def longest_text(self) -> int | None:
        """How many tokens the text tower has positions for; None where there is no end."""
        return longest_text(self.text)

    def save_text_config(self, folder: Path) -> None:
        """Write ``config.json`` of a Hugging Face text tower, for ``TowerConfig.text_folder``; others need none."""
        if isinstance(self.text, HFTextEncoder):
            self.text.config.save_pretrained(folder)

    # ---------------------------------------------------------------- what they give
    def image_tokens(self, pictures: torch.Tensor) -> TowerOutput:
        """(B, 3, S, S) normalised pictures -> tokens (B, 1 + positions, D), the pooled vector first.

        Raises:
            ConfigError: The tower takes pictures of another size only.
        """
        if self.picture_size not in (None, pictures.shape[-1]):
            raise ConfigError(
                f"pictures of {pictures.shape[-1]} pixels: the image tower takes only {self.picture_size}"
            )
        return image_tokens(self.visual, pictures)

    def text_tokens(self, ids: torch.Tensor) -> TowerOutput:
        """(B, L) token ids as this tower's tokenizer pads them -> tokens (B, L', D).

        Raises:
            ConfigError: The tower has no positions for texts of L tokens.
        """
        if self.longest_text is not None and ids.shape[1] > self.longest_text:
            raise ConfigError(f"texts of {ids.shape[1]} tokens: the text tower has {self.longest_text} positions")
        return text_tokens(self.text, ids)

    def encode_image(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) -> (B, D), unit length."""
        return F.normalize(self.image_tokens(pictures).pooled(), dim=-1)

    def encode_text(self, ids: torch.Tensor) -> torch.Tensor:
        """(B, L) -> (B, D), unit length."""
        return F.normalize(self.text_tokens(ids).pooled(), dim=-1)

    # ---------------------------------------------------------------- what they consist of
    def fresh(self) -> frozenset[str]:
        """Names of the parameters that start at random in a tower with first weights, such as its projection."""
        filled = tuple({f"{name.partition('.')[0]}." for name in self.loaded})
        return frozenset(name for name, _ in self.named_parameters() if name.startswith(filled)) - self.loaded

    def blocks(self) -> tuple[list[nn.Module], list[nn.Module]]:
        """The repeated blocks of the image tower and of the text tower, each from input to output.

        Raises:
            ConfigError: The blocks of a timm or Hugging Face tower cannot be found.
        """
        return image_blocks(self.visual), text_blocks(self.text)

    def checkpoint_gradients(self) -> None:
        """Keep only the inputs of each block for the backward pass: less memory, a second forward pass of each.

        Raises:
            ConfigError: As for ``blocks``.
        """
        for block in (block for blocks in self.blocks() for block in blocks):
            recompute(block)


def _built(config: TowerConfig) -> ClipModel:
    """The open_clip model with random weights. Its parts' own pretrained weights are never fetched."""
    wanted = settings(config.architecture)
    wanted["vision_cfg"]["timm_model_pretrained"] = False
    wanted["text_cfg"] |= config.text_cfg | {"hf_model_pretrained": False}
    named = wanted["text_cfg"].get("hf_model_name")
    folder = text_folder(config)
    if folder is not None and named:
        if not (Path(folder) / "config.json").is_file():
            raise ConfigError(f"text_folder {folder}: no config.json of the Hugging Face text tower in it")
        wanted["text_cfg"]["hf_model_name"] = folder
    wanted.pop("custom_text", None)
    kind: type[ClipModel] = open_clip.CoCa if "multimodal_cfg" in wanted else open_clip.CustomTextCLIP
    try:
        return kind(**wanted)
    except OSError as error:  # from the hub's client: no network, no such repository, not in the cache
        raise ConfigError(
            f"text tower {named!r}: its config.json is neither in the cache nor to be fetched. Download it where there "
            f"is a network and give its folder as 'text_folder' ({error})"
        ) from error
    except Exception as error:  # impossible settings are found wherever open_clip happens to use them
        raise ConfigError(
            f"{name_of(config.architecture)}: open_clip cannot build it: {type(error).__name__}: {error}"
        ) from error
