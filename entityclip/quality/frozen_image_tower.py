"""A pretrained image tower as its authors left it: features of pictures before any model of these data exists."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from open_clip.timm_model import TimmModel
from PIL import Image
from torch import nn

from entityclip.data.pairs import digest
from entityclip.errors import ConfigError
from entityclip.model.backbones import Choice
from entityclip.model.towers import Towers

_BATCH = 32


class FrozenImageTower:
    """The image tower of a backbone, without a projection that would start at random.

    Args:
        backbone: What ``best_at_hand`` chose.
        device: Where it computes.

    Raises:
        ConfigError: The choice is to start from scratch, or a weight does not fit.
    """

    def __init__(self, backbone: Choice, *, device: str = "cpu") -> None:
        if backbone.name == "none":
            raise ConfigError("backbone none: there is no pretrained image tower; install the extra 'backbones'")
        towers = Towers(backbone.towers)
        if isinstance(towers.visual, TimmModel) and any(name.startswith("visual.head.") for name in towers.fresh()):
            towers.visual.head = nn.Identity()
        self.name, self._device, self._preprocessing = backbone.name, device, backbone.preprocessing
        self._tower = towers.visual.to(device).eval()
        blank = torch.zeros(1, 3, backbone.preprocessing.size, backbone.preprocessing.size)
        self.dim = self._features(blank).shape[1]
        """Width C of the features."""

    @cached_property
    def fingerprint(self) -> str:
        """Hash of its name, its weights and its preprocessing."""
        weights = hashlib.sha256(self._preprocessing.model_dump_json().encode())
        for name, tensor in self._tower.state_dict().items():
            weights.update(name.encode() + tensor.detach().cpu().contiguous().float().numpy().tobytes())
        return digest(self.name, weights.hexdigest())

    def embed_images(self, images: Iterable[Image.Image]) -> np.ndarray:
        """N pictures -> (N, C) float32, unit rows. Only one picture is held in full at a time."""
        rows = [self._features(self._preprocessing.normalise(chunk)) for chunk in self._chunks(images)]
        features = np.concatenate([np.zeros((0, self.dim), np.float32), *rows])
        return features / np.linalg.norm(features, axis=1, keepdims=True).clip(min=np.finfo(np.float32).tiny)

    def _chunks(self, images: Iterable[Image.Image]) -> Iterator[torch.Tensor]:
        squares = map(self._preprocessing.square, images)
        while chunk := list(islice(squares, _BATCH)):
            yield torch.from_numpy(np.stack(chunk))

    @torch.inference_mode()
    def _features(self, pictures: torch.Tensor) -> np.ndarray:
        return self._tower(pictures.to(self._device)).float().cpu().numpy()
