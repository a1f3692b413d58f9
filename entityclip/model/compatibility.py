"""What towers expect of pictures and texts, and the refusal of a preprocessing or tokenizer that is not it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import open_clip
from open_clip.hf_model import HFTextEncoder
from open_clip.transformer import TextTransformer
from pydantic import ValidationError

from entityclip.architectures import document, name_of, settings
from entityclip.data.preprocessing import Preprocessing
from entityclip.data.text import Tokenisation, Tokenizer
from entityclip.errors import ConfigError, faults
from entityclip.model.config import TowerConfig
from entityclip.model.pretrained import BACKBONES
from entityclip.model.pretrained.input_pictures import trained_with
from entityclip.model.tower_weights import text_folder
from entityclip.model.towers import Towers
from entityclip.model.weights import tag_of

_FIELDS = {"mean": "mean", "std": "std", "interpolation": "interpolation", "resize_mode": "resize"}
"""open_clip's names of what pretrained towers were fed, and ours."""
_VOCABULARY = 0.9
"""Some towers round their vocabulary up (32,000 for BERT's 30,522); a tokenizer with less than this is another one."""


# ---------------------------------------------------------------- what they expect
def expected_preprocessing(config: TowerConfig) -> Preprocessing | None:
    """What pretrained towers were fed with; None from scratch, and where nothing says it.

    A tag and a folder's ``open_clip_config.json`` say it. For a plain file of weights, the tags of the same
    architecture do, as long as they agree.

    Raises:
        ConfigError: They want something that is not done here, like padding to the longer side in black.
    """
    known = _trained_with(config)
    if not known:
        return None
    size = settings(config.architecture)["vision_cfg"].get("image_size", 224)
    try:
        return Preprocessing(size=size, **{ours: known[theirs] for theirs, ours in _FIELDS.items() if theirs in known})
    except ValidationError as error:
        raise ConfigError(
            f"{name_of(config.architecture)}: preprocessing that is not done here: {faults(error)}"
        ) from error


def _trained_with(config: TowerConfig) -> dict[str, Any]:
    if config.image_weights is not None:
        return trained_with(config.image_weights)
    if config.pretrained is None:
        return {}
    if backbone := BACKBONES.get(config.pretrained):
        return trained_with(backbone.name) | ({"resize_mode": backbone.resize} if backbone.mean else {})
    if tag := tag_of(config.architecture, config.pretrained):
        return tag
    if declared := document(config.architecture)["preprocess_cfg"]:
        return declared
    name = config.architecture if isinstance(config.architecture, str) else ""
    tags = [open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)]
    distinct = {tuple(tag[theirs] for theirs in _FIELDS): tag for tag in tags}
    return next(iter(distinct.values())) if len(distinct) == 1 else {}


def expected_tokenisation(config: TowerConfig) -> Tokenisation:
    """The tokenizer of the architecture, at its full length."""
    text = settings(config.architecture)["text_cfg"]
    foreign = config.architecture if text.get("hf_tokenizer_name") or text.get("tokenizer_kwargs") else ""
    folder = text_folder(config) if text.get("hf_tokenizer_name") else None
    return Tokenisation(tokenizer=foreign, folder=folder, context=text.get("context_length", 77))


# ---------------------------------------------------------------- the refusal
def require_fit(towers: Towers, *, preprocessing: Preprocessing, tokenizer: Tokenizer) -> None:
    """Refuse pictures that the image tower was not trained on or cannot take, and ids that mean something else.

    Raises:
        ConfigError: Every misfit, with what is configured and what is expected.
    """
    misfits = [*_pictures(towers, preprocessing), *_texts(towers, tokenizer)]
    if misfits:
        raise ConfigError(f"{name_of(towers.tower_config.architecture)}: " + "; ".join(misfits))


def _pictures(towers: Towers, given: Preprocessing) -> Iterator[str]:
    if towers.picture_size not in (None, given.size):
        yield f"preprocessing.size is {given.size}, but the image tower takes only {towers.picture_size} pixels"
    expected, stated = expected_preprocessing(towers.tower_config), _trained_with(towers.tower_config)
    for field in (ours for theirs, ours in _FIELDS.items() if expected and theirs in stated):
        configured, wanted = getattr(given, field), getattr(expected, field)
        close = configured == wanted or (
            isinstance(wanted, tuple)
            and all(math.isclose(a, b, abs_tol=1e-3) for a, b in zip(configured, wanted, strict=True))
        )
        if not close:
            yield f"preprocessing.{field} is {configured}, but the weights were trained with {wanted}"


def _texts(towers: Towers, tokenizer: Tokenizer) -> Iterator[str]:
    tower, context, longest = towers.text, tokenizer.config.context, towers.longest_text
    if longest is not None and context > longest:
        yield f"tokenisation.context is {context}, but the text tower has {longest} positions"
    if tokenizer.vocabulary > tower.vocab_size:
        yield f"the tokenizer knows {tokenizer.vocabulary} ids, but the text tower only {tower.vocab_size}"
    if isinstance(tower, HFTextEncoder) and tokenizer.pad != tower.config.pad_token_id:
        yield f"the tokenizer pads with id {tokenizer.pad}, but the text tower skips id {tower.config.pad_token_id}"
    if isinstance(tower, TextTransformer):
        yield from _marks(tower, tokenizer)
    if towers.tower_config.pretrained is not None or towers.tower_config.text_weights is not None:
        yield from _another_tokenizer(towers, tokenizer)


def _marks(tower: TextTransformer, tokenizer: Tokenizer) -> Iterator[str]:
    """Where the tower looks for the end of a text, and what it takes for padding."""
    if tower.cls_emb is not None or tower.pool_type in ("first", "last"):
        if tokenizer.pad != tower.pad_id:
            yield f"the tokenizer pads with id {tokenizer.pad}, but text_cfg.pad_id is {tower.pad_id}"
    elif tower.pool_type == "eos" and tokenizer.end != tower.eos_id:
        yield f"the tokenizer ends a text with id {tokenizer.end}, but text_cfg.eos_id is {tower.eos_id}"
    elif tower.pool_type == "argmax" and tokenizer.end != tokenizer.vocabulary - 1:
        yield (
            f"the text tower is read at the largest id, but the tokenizer ends a text with id {tokenizer.end} of "
            f"{tokenizer.vocabulary}; set text_cfg.pool_type 'eos' and eos_id {tokenizer.end}"
        )


def _another_tokenizer(towers: Towers, tokenizer: Tokenizer) -> Iterator[str]:
    wanted, given = expected_tokenisation(towers.tower_config), tokenizer.config
    if _recipe(given) != _recipe(wanted):
        yield f"the tokenizer is {_recipe(given)}, but the weights were trained with {_recipe(wanted)}"
    if tokenizer.vocabulary < _VOCABULARY * towers.text.vocab_size:
        yield f"the tokenizer knows {tokenizer.vocabulary} ids, but the weights are for {towers.text.vocab_size}"


def _recipe(config: Tokenisation) -> str:
    """What decides the ids of a text: whose vocabulary, and the cleaning in front of it."""
    text = settings(config.tokenizer)["text_cfg"] if config.tokenizer else {}
    name = text.get("hf_tokenizer_name") or config.folder or "CLIP's BPE"
    return f"{name} with {json.dumps(text.get('tokenizer_kwargs') or {}, sort_keys=True)}"
