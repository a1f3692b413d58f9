"""The smallest real things: a data version of a few drawn pictures, and a model of a few thousand weights."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from entityclip.data import pairs
from entityclip.data.preprocessing import Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.model import checkpoint
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.config import ExpertConfig, ModelConfig, TowerConfig
from entityclip.model.entityclip import EntityCLIP
from entityclip.paths import CheckpointLayout, DataLayout

COLOURS = ("red", "green", "blue", "orange", "purple", "black")
TRAIN_PICTURES = (10, 3, 2, 1, 0, 0)
"""Of each colour: entities of every slice."""


def tiny_picture(colour: str, number: int) -> Image.Image:
    """A disc of this colour, shifted by its number."""
    image = Image.new("RGB", (40, 36), "white")
    ImageDraw.Draw(image).ellipse((4 + number % 8, 4, 26 + number % 8, 26), fill=colour)
    return image


def tiny_data(root: Path, *, held_out: int = 3, sealed: int = 0) -> DataLayout:
    """Six entities with one val, ``held_out`` test and ``sealed`` pictures each; all but one have an explanation."""
    data = DataLayout(root)
    pairs.start(data)
    entities, rows, explanations = [], [], []
    for colour, train in zip(COLOURS, TRAIN_PICTURES, strict=True):
        name = f"KX-{colour.upper()}"
        about = {"entity_id": pairs.entity_id(name), "entity": name, "language": "en"}
        entities.append(about | {"aliases": [f"{colour} kettle"], "category": "kettle", "licence": "", "source": "t"})
        splits = ["train"] * train + ["val"] + ["test"] * held_out + ["sealed"] * sealed
        rows += [_pair(about, colour, split, number) for number, split in enumerate(splits)]
        explanations.append(_explanation(about, f"The {name} has a body like a {colour} disc."))
    for split in dict.fromkeys(row["split"] for row in rows):
        pairs.write_rows(data.pairs, pairs.PAIRS, [r for r in rows if r["split"] == split], name=split)
    pairs.write_rows(data.entities, pairs.ENTITIES, entities, name="entities")
    pairs.write_rows(data.explanations, pairs.EXPLANATIONS, explanations[:-1], name="explanations")
    pairs.finish(data, pairs=len(rows), **({"sealed": sealed * len(entities)} if sealed else {}))
    return data


def _pair(about: dict[str, Any], colour: str, split: str, number: int) -> dict[str, Any]:
    file = io.BytesIO()
    tiny_picture(colour, number).save(file, format="PNG")
    sha = pairs.digest(file.getvalue(), str(number), length=64)
    return about | {
        "pair_id": pairs.pair_id(sha, about["entity"], about["entity"]),
        "image": {"bytes": file.getvalue(), "path": f"{colour}/{number}.png"},
        "image_sha256": sha,
        "width": 40,
        "height": 36,
        "caption": about["entity"],
        "split": split,
        "category": "kettle",
    }


def _explanation(about: dict[str, Any], text: str) -> dict[str, Any]:
    named = {"caption": about["entity"], "text": text, "generator": "source", "prompt_version": "1"}
    return named | {"entity_id": about["entity_id"], "language": "en", "explanation_id": pairs.digest(text)}


def tiny_model(root: Path, *, seed: int = 0, **card: Any) -> LoadedModel:
    """A model with random weights, saved to ``root`` and loaded from there."""
    torch.manual_seed(seed)
    towers = TowerConfig(architecture="entityclip-tiny", mean_pool=True)
    model = EntityCLIP(ModelConfig(towers=towers, experts=ExpertConfig(image=1, shared=1, text=1)))
    fields: dict[str, Any] = {"data_hash": "data", "config": {}, "code_hash": "code", "epochs": 0, "metrics": {}}
    how = {"preprocessing": Preprocessing(size=32), "tokenisation": Tokenisation(context=24)}
    checkpoint.save(CheckpointLayout(root), model, **(fields | how | card))
    return checkpoint.load(CheckpointLayout(root))


def tiny_vit(folder: Path) -> ModelConfig:
    """A transformer without batch norm, whose rows do not know each other; its architecture is put into ``folder``."""
    vision = {"image_size": 32, "layers": 3, "width": 32, "patch_size": 8, "head_width": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3}
    file = folder / "tiny-vit.json"
    file.write_text(json.dumps({"embed_dim": 32, "custom_text": True, "vision_cfg": vision, "text_cfg": text}))
    towers = TowerConfig(architecture=str(file))
    return ModelConfig(towers=towers, experts=ExpertConfig(image=1, shared=2, text=1))
