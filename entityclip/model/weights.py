"""First weights of the towers: from an open_clip tag, a folder or a file; every one of them, or none."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from entityclip.architectures import Architecture, settings
from entityclip.errors import ConfigError
from entityclip.model.pretrained import BACKBONES, weights_path
from entityclip.model.pretrained.hugging_face_names import open_clip_names

ClipModel: TypeAlias = open_clip.CustomTextCLIP | open_clip.CoCa
PREFERRED = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
"""Names that the Hugging Face hub's folders give to whole weights, the best first."""
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
NAMED_IN_ERRORS = 5
"""Keys or shapes that a message names before it only counts."""


# ---------------------------------------------------------------- which file
def tag_of(architecture: Architecture, pretrained: str) -> dict[str, Any]:
    """What open_clip knows about a tag: where its weights are, and its preprocessing; empty where it is no tag."""
    return open_clip.get_pretrained_cfg(architecture, pretrained) if isinstance(architecture, str) else {}


def weights_file(architecture: Architecture, pretrained: str) -> Path:
    """The file that ``pretrained`` means: a tag's (fetched, or from the cache), a folder's one, or itself.

    Raises:
        ConfigError: There is none, it is not clear which, or the tag belongs to another activation.
    """
    if tag := tag_of(architecture, pretrained):
        return _fetched(architecture, pretrained, tag)
    if pretrained not in BACKBONES and not Path(pretrained).exists():
        tags = open_clip.list_pretrained_tags_by_model(architecture) if isinstance(architecture, str) else []
        raise ConfigError(
            f"weights {pretrained!r}: neither a file or folder here nor a tag that open_clip knows for this "
            f"architecture (it knows {', '.join(tags) or 'none'})"
        )
    return file_in(weights_path(pretrained))


def _fetched(architecture: Architecture, name: str, tag: Mapping[str, Any]) -> Path:
    if tag.get("quick_gelu", False) != settings(architecture).get("quick_gelu", False):
        raise ConfigError(
            f"weights {name!r} of {architecture}: they were trained with another activation; "
            f"quick_gelu is {tag.get('quick_gelu', False)} for them, so use {architecture}-quickgelu"
        )
    try:
        return Path(open_clip.download_pretrained(dict(tag)))
    except Exception as error:  # whatever the hub's client and the network make of it
        where = tag.get("hf_hub", "").rstrip("/") or tag.get("url")
        raise ConfigError(
            f"weights {name!r} of {architecture}: not in the cache, and could not be fetched. Download {where} where "
            f"there is a network and give its folder or file as 'pretrained' ({error})"
        ) from error


def file_in(folder: Path) -> Path:
    """The file of weights in a folder; a file is its own.

    Raises:
        ConfigError: There is none, or it is not clear which.
    """
    if folder.is_file():
        return folder
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    known = [folder / name for name in PREFERRED if folder / name in files]
    if not known and len(files) != 1:
        found = ", ".join(path.name for path in files) or "no weights"
        raise ConfigError(
            f"{folder}: expected {PREFERRED[0]} or a single file of weights, found {found}; name the file"
        )
    return known[0] if known else files[0]


# ---------------------------------------------------------------- what is in it
def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, or of a ``.pt`` that holds tensors alone; nothing in it is ever run.

    Raises:
        ConfigError: It is neither.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"{path}: damaged, or holds more than tensors, which could run code when it is read; where you trust it, "
            "save its state_dict as safetensors"
        ) from error
    except SafetensorError as error:
        raise ConfigError(f"{path}: not a whole safetensors file: {error}") from error
    except Exception as error:  # rubbish leads torch's reader anywhere; a TorchScript archive is a RuntimeError
        raise ConfigError(
            f"{path}: cannot be read as weights; expected safetensors, or a .pt file with a state_dict"
        ) from error
    tensors = content.get("state_dict", content) if isinstance(content, dict) else None
    if not tensors or not isinstance(tensors, dict) or not all(isinstance(t, torch.Tensor) for t in tensors.values()):
        raise ConfigError(f"{path}: expected names with tensors, or those under 'state_dict'")
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


# ---------------------------------------------------------------- into the model
def load_weights(clip: ClipModel, path: Path) -> None:
    """Fill every weight of an open_clip model from ``path``.

    open_clip's own loader would also resize the positions of pictures and texts without a word.

    Raises:
        ConfigError: The file cannot be read, or a weight is missing, left over or of another shape.
    """
    tensors = convert_to_custom_text_state_dict(convert_state_dict(clip, open_clip_names(read_weights(path))))
    tensors.pop("text.transformer.embeddings.position_ids", None)  # a buffer that transformers has given up
    if getattr(clip, "logit_bias", None) is not None:  # SigLIP's loss needs it, ours does not
        tensors.pop("logit_bias", None)
        clip.logit_bias = None
    if "logit_scale" in tensors and tensors["logit_scale"].numel() == clip.logit_scale.numel():
        tensors["logit_scale"] = tensors["logit_scale"].reshape(clip.logit_scale.shape)
    require_same_weights(tensors, clip.state_dict(), origin=str(path))
    clip.load_state_dict(tensors, strict=True)


def require_same_weights(given: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], *, origin: str) -> None:
    """Refuse weights that are not, name by name and shape by shape, the ones wanted.

    Raises:
        ConfigError: The message names the first differences.
    """
    shapes = [
        f"{name} is {tuple(given[name].shape)} and should be {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    differences = {
        "missing": [name for name in wanted if name not in given],
        "left over": [name for name in given if name not in wanted],
        "of another shape": shapes,
    }
    if any(differences.values()):
        listed = "; ".join(f"{kind}: {_first(names)}" for kind, names in differences.items() if names)
        raise ConfigError(f"{origin}: does not fit the architecture, so give the one it was made for. {listed}")


def _first(names: Iterable[str]) -> str:
    names = list(names)
    more = len(names) - NAMED_IN_ERRORS
    return ", ".join(names[:NAMED_IN_ERRORS]) + (f" and {more} more" if more > 0 else "")
