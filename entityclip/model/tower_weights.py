"""First weights of one tower alone: every one of its weights, or none; the way into the joint space may be fresh."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from torch import nn

from entityclip.errors import ConfigError
from entityclip.model.config import TowerConfig
from entityclip.model.image_towers import ImageTower
from entityclip.model.pretrained.efficientnet_lite import is_efficientnet_lite, timm_names
from entityclip.model.pretrained.hugging_face_names import open_clip_names
from entityclip.model.pretrained.lookup import weights_path
from entityclip.model.text_towers import TextTower
from entityclip.model.weights import file_in, read_weights, require_same_weights

Tensors = dict[str, torch.Tensor]
_COUNTER = "num_batches_tracked"
"""A buffer of batch norm that older files leave out and that nothing here reads."""
_PRETRAINING = ("mask_token",)
"""Weights that timm's image towers need for their own pretraining alone."""


# ---------------------------------------------------------------- image tower
def load_image_weights(tower: ImageTower, given: str) -> frozenset[str]:
    """Fill an image tower from ``given``: a backbone's name, a file, or a folder.

    Reads timm's files, the image tower inside a CLIP of open_clip, and the EfficientNet-Lite packages. A classifier is
    left out.

    Returns:
        Names of the tower's weights that are still fresh: its projection, where the file has none.

    Raises:
        ConfigError: There is no such file, or a weight is missing, left over or of another shape.
    """
    path = file_in(weights_path(given))
    tensors = open_clip_names(read_weights(path))
    inside = _part(tensors, "visual.")
    if inside or not isinstance(tower, TimmModel):
        tensors = inside or tensors
    elif not any(name.startswith("trunk.") for name in tensors):
        tensors = {f"trunk.{name}": tensor for name, tensor in _trunk(tensors, tower, origin=str(path)).items()}
    return _fill(tower, tensors, projection=_image_projection(tower), origin=str(path))


def _trunk(tensors: Tensors, tower: TimmModel, *, origin: str) -> Tensors:
    """The tensors of a timm model without its classifier."""
    heads = _classifiers(tower)
    if is_efficientnet_lite(tensors):
        own = {name: tensor for name, tensor in tower.trunk.state_dict().items() if not name.startswith(heads)}
        return timm_names(tensors, own, origin=origin)
    left_out = (*heads, *(name for name in _PRETRAINING if not hasattr(tower.trunk, name)))
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(left_out)}


def _classifiers(tower: TimmModel) -> tuple[str, ...]:
    """Beginnings of the names of the trunk's classifier, of which a tower has none or its projection."""
    named = tower.trunk.default_cfg.get("classifier") or ()
    return tuple(f"{name}." for name in ([named] if isinstance(named, str) else named))


def _image_projection(tower: ImageTower) -> frozenset[str]:
    """Names of what leads from the tower's own width to the joint one."""
    if isinstance(tower, TimmModel):
        beginnings = ("head.", *(f"trunk.{name}" for name in _classifiers(tower)))
        return frozenset(name for name in tower.state_dict() if name.startswith(beginnings))
    beginning = "attnpool." if isinstance(tower, ModifiedResNet) else "proj"
    return frozenset(name for name in tower.state_dict() if name.startswith(beginning))


# ---------------------------------------------------------------- text tower
def load_text_weights(tower: TextTower, given: str) -> frozenset[str]:
    """Fill a text tower from ``given``: a backbone's name, a Hugging Face folder, or a CLIP of open_clip.

    Heads for another task, such as a language model's, are left out.

    Returns:
        Names of the tower's weights that are still fresh: its projection, where the files have none.

    Raises:
        ConfigError: There are no such files, or a weight is missing, left over or of another shape.
    """
    path = weights_path(given)
    if isinstance(tower, HFTextEncoder) and is_hugging_face(path):
        tensors = {f"transformer.{name}": tensor for name, tensor in _hugging_face(tower, path).items()}
    else:
        path = file_in(path)
        tensors = _part(convert_to_custom_text_state_dict(open_clip_names(read_weights(path))), "text.")
        tensors.pop("transformer.embeddings.position_ids", None)  # a buffer that transformers has given up
        if not tensors:
            raise ConfigError(
                f"{path}: no text tower of open_clip in it. Expected a CLIP, or for a Hugging Face text tower its "
                "folder with config.json and weights"
            )
    ways = ("proj.", "text_projection")
    projection = frozenset(name for name in tower.state_dict() if name.startswith(ways))
    return _fill(tower, tensors, projection=projection, origin=str(path))


def text_folder(config: TowerConfig) -> str | None:
    """Folder with the files of a Hugging Face text tower and its tokenizer: ``text_folder``, or that of its weights."""
    if config.text_folder is not None or config.text_weights is None:
        return config.text_folder
    path = weights_path(config.text_weights)
    return str(path) if is_hugging_face(path) else None


def is_hugging_face(path: Path) -> bool:
    """Whether this is a folder of the ``transformers`` library, and not one of open_clip."""
    return (path / "config.json").is_file() and not (path / "open_clip_config.json").is_file()


def _hugging_face(tower: HFTextEncoder, folder: Path) -> Tensors:
    """The encoder's tensors, read by transformers itself; those of its own heads are left out."""
    from transformers import AutoModel

    try:
        model, found = AutoModel.from_pretrained(
            folder, output_loading_info=True, dtype=torch.float32, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # files of any kind lead transformers to any exception
        raise ConfigError(f"{folder}: transformers cannot load it: {type(error).__name__}: {error}") from error
    kept: Any = model.encoder if getattr(model.config, "is_encoder_decoder", False) else model
    missing, wanted = {*found["missing_keys"]}, tower.transformer.state_dict()
    inside = tuple(f"{name}." for name, _ in model.named_children())
    strange = [name for name in found["unexpected_keys"] if _without_base(name, model).startswith(inside)]
    pooler = "pooler." if not any(name.startswith("pooler.") for name in wanted) else "\0"
    read = {n: t for n, t in kept.state_dict().items() if n not in missing and not n.startswith(pooler)}
    return read | {name: torch.empty(0) for name in strange if not _without_base(name, model).startswith(pooler)}


def _without_base(name: str, model: nn.Module) -> str:
    return name.removeprefix(f"{getattr(model, 'base_model_prefix', '')}.")


# ---------------------------------------------------------------- both
def _part(tensors: Mapping[str, torch.Tensor], beginning: str) -> Tensors:
    """The tensors whose names begin so, without that beginning."""
    return {name.removeprefix(beginning): t for name, t in tensors.items() if name.startswith(beginning)}


def _fill(tower: nn.Module, tensors: Tensors, *, projection: Collection[str], origin: str) -> frozenset[str]:
    """Load all weights, or all but the projection where none of it is given; names of what is fresh."""
    own = tower.state_dict()
    fresh = frozenset() if any(name in tensors for name in projection) else frozenset(projection)
    wanted = {n: t for n, t in own.items() if n not in fresh and (n in tensors or not n.endswith(_COUNTER))}
    require_same_weights(tensors, wanted, origin=origin)
    tower.load_state_dict(tensors, strict=False)
    return fresh
