"""The table says what open_clip and timm say, where they know a backbone."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import timm
import torch
from timm.models import get_pretrained_cfg

from entityclip.architectures import document
from entityclip.model.backbones import BACKBONES, Backbone
from entityclip.model.backbones.first_towers import towers_of_backbone
from entityclip.model.backbones.recipe import recipe
from entityclip.model.config import ModelConfig
from entityclip.model.entityclip import EntityCLIP

TAGGED = [b for b in BACKBONES.values() if b.tag]
TIMM = [b for b in BACKBONES.values() if b.kind == "image"]


@pytest.mark.parametrize("backbone", TAGGED, ids=lambda b: b.name)
def test_a_clip_is_the_one_that_open_clip_knows_by_its_tag(backbone: Backbone) -> None:
    known = open_clip.get_pretrained_cfg(backbone.architecture, backbone.tag)
    assert known["hf_hub"].rstrip("/") == backbone.repository
    assert (known["mean"], known["std"]) == (backbone.mean, backbone.std)
    assert (known["interpolation"], known["resize_mode"]) == (backbone.interpolation, backbone.resize)
    assert document(backbone.architecture)["model_cfg"]["vision_cfg"]["image_size"] == backbone.size


@pytest.mark.parametrize("backbone", TIMM, ids=lambda b: b.name)
def test_an_image_tower_is_one_that_timm_knows(backbone: Backbone) -> None:
    with torch.device("meta"):
        model = timm.create_model(backbone.architecture, num_classes=1000 if backbone.package else 0)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(backbone.parameters, abs=0.06)
    if backbone.repository:
        known = get_pretrained_cfg(backbone.repository.removeprefix("timm/"))
        assert known is not None
        assert (known.hf_hub_id, known.input_size[-1]) == (backbone.repository, backbone.size)
        assert (known.mean, known.std, known.interpolation) == (backbone.mean, backbone.std, backbone.interpolation)
        assert (known.license or "").lower() == backbone.licence.lower()


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=lambda b: b.name)
def test_a_recipe_names_source_licence_settings_and_check(backbone: Backbone) -> None:
    text = recipe(backbone)
    assert (backbone.package or backbone.repository) in text
    assert backbone.licence in text
    assert f"entityclip backbones check {backbone.name}" in text
    assert (backbone.sha256 or "Compare the SHA-256") in text
    assert ("accept_licences" in text) == bool(backbone.terms)
    assert "//" not in text


@pytest.mark.slow
@pytest.mark.parametrize("backbone", TIMM, ids=lambda b: b.name)
def test_an_image_tower_reads_a_picture(backbone: Backbone) -> None:
    towers = towers_of_backbone(backbone, "weights", Path("weights")).model_copy(update={"image_weights": None})
    tower = EntityCLIP(ModelConfig(towers=towers)).eval()
    assert backbone.size is not None
    with torch.inference_mode():
        tokens = tower.image_tokens(torch.zeros(1, 3, backbone.size, backbone.size)).tokens
    assert tokens.shape[::2] == (1, tower.dim)
    assert torch.isfinite(tokens).all()
