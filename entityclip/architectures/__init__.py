"""Architectures by name, file or content: open_clip's settings of both towers and of what they want to be fed."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from entityclip.architectures.hugging_face_clip import clip_document, is_hugging_face_clip
from entityclip.errors import ConfigError

ARCHITECTURES = Path(__file__).parent
CONFIG_FILE = "open_clip_config.json"
"""In a folder as it is downloaded from the Hugging Face hub: settings of the towers and of the preprocessing."""

Architecture = str | dict[str, Any]
"""A name (open_clip's or one in ``architectures/``), a JSON file, a folder with ``open_clip_config.json`` or with a
Hugging Face CLIP, content."""

_PADS = {"timm/ViT-B-16-SigLIP": 1, "timm/ViT-B-16-SigLIP-i18n-256": 1}
"""open_clip leaves out what these tokenizers pad with: it never cuts padding, so its towers need not know."""


def settings(architecture: Architecture) -> dict[str, Any]:
    """What the towers are built from: ``embed_dim``, ``vision_cfg``, ``text_cfg`` and so on; the caller's own copy.

    Raises:
        ConfigError: There is no such name or file, or it is not open_clip's form.
    """
    found = document(architecture)["model_cfg"]
    text = found["text_cfg"]
    if text.get("hf_tokenizer_name") in _PADS:
        text.setdefault("pad_id", _PADS[text["hf_tokenizer_name"]])
    return found


def document(architecture: Architecture) -> dict[str, Any]:
    """``model_cfg``, and ``preprocess_cfg`` where the architecture comes with one, as in ``open_clip_config.json``.

    Raises:
        ConfigError: As for ``settings``.
    """
    content, origin = _content(architecture)
    whole = content if "model_cfg" in content else {"model_cfg": content}
    model = whole["model_cfg"]
    wanted = {"embed_dim": int, "vision_cfg": dict, "text_cfg": dict}
    given = model if isinstance(model, dict) else {}
    wrong = [key for key, kind in wanted.items() if not isinstance(given.get(key), kind)]
    if wrong:
        raise ConfigError(f"{origin}: an architecture needs {', '.join(wanted)}; missing or wrong: {', '.join(wrong)}")
    return {"model_cfg": model, "preprocess_cfg": whole.get("preprocess_cfg") or {}}


def name_of(architecture: Architecture) -> str:
    """What to call it in a message."""
    return architecture if isinstance(architecture, str) else "the architecture given as content"


def portable(architecture: Architecture) -> Architecture:
    """The same without a path of this machine: a name stays, a file becomes its content."""
    return architecture if isinstance(architecture, dict) or _named(architecture) else document(architecture)


def _named(name: str) -> dict[str, Any] | None:
    """Settings of an architecture that has a name."""
    ours = ARCHITECTURES / f"{name}.json"
    if name and Path(name).name == name and ours.is_file():
        return json.loads(ours.read_text(encoding="utf-8"))
    if ":" in name:  # open_clip would ask the hub
        return None
    import open_clip  # seconds: it loads torch, and settings of ours or from a file do not need it

    return open_clip.get_model_config(name)


def _content(architecture: Architecture) -> tuple[dict[str, Any], str]:
    """What is given, found or read, and what to call it in a message."""
    if isinstance(architecture, dict):
        return deepcopy(architecture), name_of(architecture)
    if (found := _named(architecture)) is not None:
        return found, architecture
    path = Path(architecture)
    if path.is_dir() and not (path / CONFIG_FILE).is_file() and is_hugging_face_clip(path):
        return clip_document(path), str(path)
    path = path / CONFIG_FILE if path.is_dir() else path
    if not path.is_file():
        raise ConfigError(
            f"architecture {architecture!r}: neither a name that open_clip or {ARCHITECTURES.name}/ knows, nor a JSON "
            f"file, nor a folder with {CONFIG_FILE} or the config.json of a Hugging Face CLIP"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: expected JSON with the settings of an architecture: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a JSON object with the settings of an architecture")
    return content, str(path)
