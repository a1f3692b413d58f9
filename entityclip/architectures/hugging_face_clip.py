"""The architecture of a CLIP in the form of the ``transformers`` library, as open_clip's settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from entityclip.errors import ConfigError

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
_CLIP_VOCABULARY = 49408
"""Tokens of CLIP's own BPE, which needs no files."""
_OLD_END = 2
"""``eos_token_id`` of old config files, with which the text is read at its largest id."""
_PILLOW = {2: "bilinear", 3: "bicubic"}
"""Numbers of Pillow's resampling filters."""


def is_hugging_face_clip(folder: Path) -> bool:
    """Whether a folder holds the ``config.json`` of a CLIP of transformers."""
    return read_json_object(folder / CONFIG).get("model_type") == "clip"


def clip_document(folder: Path) -> dict[str, Any]:
    """``model_cfg`` and ``preprocess_cfg`` as in ``open_clip_config.json``, from the folder's own files.

    Raises:
        ConfigError: A setting that open_clip has no counterpart of.
    """
    config = read_json_object(folder / CONFIG)
    vision, text = (_filled(config, part) for part in ("vision", "text"))
    activations = {vision["hidden_act"], text["hidden_act"]}
    epsilons = {vision["layer_norm_eps"], text["layer_norm_eps"]}
    if not (activations <= {"quick_gelu", "gelu"} and len(activations) == 1 and epsilons == {1e-5}):
        raise ConfigError(
            f"{folder / CONFIG}: expected hidden_act quick_gelu or gelu in both towers and layer_norm_eps 1e-05, "
            f"found {', '.join(sorted(activations))} and {', '.join(map(str, sorted(epsilons)))}"
        )
    own = text["vocab_size"] != _CLIP_VOCABULARY
    model = {
        "embed_dim": config.get("projection_dim", 512),
        "quick_gelu": activations == {"quick_gelu"},
        "vision_cfg": _tower(vision)
        | {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
        },
        "text_cfg": _tower(text)
        | {
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
            "heads": text["num_attention_heads"],
        }
        | _end(text["eos_token_id"])
        | ({"hf_tokenizer_name": folder.name, "tokenizer_kwargs": {"clean": "whitespace"}} if own else {}),
    }
    return {"model_cfg": model, "preprocess_cfg": preprocessing(folder)}


def preprocessing(folder: Path) -> dict[str, Any]:
    """``mean``, ``std`` and ``interpolation`` of the folder's ``preprocessor_config.json``; empty without one."""
    given = read_json_object(folder / PREPROCESSOR)
    how = {"mean": given.get("image_mean"), "std": given.get("image_std")}
    how["interpolation"] = _PILLOW.get(given.get("resample", 0))
    return {name: value for name, value in how.items() if value is not None}


def _tower(given: dict[str, Any]) -> dict[str, Any]:
    return {
        "layers": given["num_hidden_layers"],
        "width": given["hidden_size"],
        "mlp_ratio": given["intermediate_size"] / given["hidden_size"],
    }


def _end(token: int) -> dict[str, Any]:
    return {"pool_type": "argmax"} if token == _OLD_END else {"pool_type": "eos", "eos_id": token}


def _filled(config: dict[str, Any], part: str) -> dict[str, Any]:
    """The settings of a tower, with transformers' own defaults where the file leaves them out."""
    from transformers import CLIPTextConfig, CLIPVisionConfig

    kind = {"vision": CLIPVisionConfig, "text": CLIPTextConfig}[part]
    return kind(**config.get(f"{part}_config", {})).to_dict()


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is no such file.

    Raises:
        ConfigError: It is not JSON.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: expected JSON: {error}") from error
    return content if isinstance(content, dict) else {}
