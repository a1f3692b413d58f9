"""What an image tower was fed with: by the table, or by the JSON file beside its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from entityclip.architectures.hugging_face_clip import preprocessing, read_json_object
from entityclip.model.pretrained.backbone_table import BACKBONES


def trained_with(given: str) -> dict[str, Any]:
    """``mean``, ``std`` and ``interpolation`` of a backbone by name, or of a file or folder; empty where nothing says.

    Reads timm's ``config.json``, open_clip's ``open_clip_config.json`` and transformers' ``preprocessor_config.json``.

    Raises:
        ConfigError: Such a file is not JSON.
    """
    path = Path(given)
    packaged = (b for b in BACKBONES.values() if b.package and Path(b.file).name == path.name)
    if backbone := BACKBONES.get(given) or next(packaged, None):
        declared = backbone.model_dump(include={"mean", "std", "interpolation"})
        return declared if backbone.mean is not None else {}
    folder = path if path.is_dir() else path.parent
    timm = read_json_object(folder / "config.json")
    open_clip = read_json_object(folder / "open_clip_config.json")
    declared = timm.get("pretrained_cfg") or open_clip.get("preprocess_cfg") or preprocessing(folder)
    return {name: declared[name] for name in ("mean", "std", "interpolation") if declared.get(name) is not None}
