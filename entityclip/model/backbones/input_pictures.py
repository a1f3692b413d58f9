"""What an image tower was fed with: by the table, or by the JSON file beside its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from entityclip.errors import ConfigError
from entityclip.model.backbones.table import BACKBONES

_PILLOW = {2: "bilinear", 3: "bicubic"}
"""Numbers of Pillow's resampling filters in transformers' files."""


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
    timm = _read(folder / "config.json")
    open_clip, transformers = _read(folder / "open_clip_config.json"), _read(folder / "preprocessor_config.json")
    declared = timm.get("pretrained_cfg") or open_clip.get("preprocess_cfg") or _of_transformers(transformers)
    return {name: declared[name] for name in ("mean", "std", "interpolation") if declared.get(name) is not None}


def _of_transformers(given: dict[str, Any]) -> dict[str, Any]:
    how = {"mean": given.get("image_mean"), "std": given.get("image_std")}
    return how | {"interpolation": _PILLOW.get(given.get("resample", 0))}


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: expected JSON: {error}") from error
    return content if isinstance(content, dict) else {}
