"""A CLIP of the transformers library gives the same vectors here, whole or one tower of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_clip import PICTURES, write_clip
from torch.nn import functional as F
from transformers import CLIPModel

from entityclip.architectures import settings
from entityclip.errors import ConfigError
from entityclip.model.compatibility import expected_preprocessing, expected_tokenisation, require_fit
from entityclip.model.config import TowerConfig
from entityclip.model.towers import Towers


def both(folder: Path) -> TowerConfig:
    return TowerConfig(architecture=str(folder), pretrained=str(folder), text_folder=str(folder))


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_vectors_are_those_of_transformers(activation: str, tmp_path: Path) -> None:
    write_clip(tmp_path, activation=activation)
    theirs, ours = CLIPModel.from_pretrained(tmp_path).eval(), Towers(both(tmp_path)).eval()
    ids = expected_tokenisation(both(tmp_path)).load()(["a blue kettle", "a pot"])
    with torch.inference_mode():
        images = theirs.visual_projection(theirs.vision_model(pixel_values=PICTURES).pooler_output)
        texts = theirs.text_projection(theirs.text_model(input_ids=ids).pooler_output)
        torch.testing.assert_close(ours.encode_image(PICTURES), F.normalize(images, dim=-1))
        torch.testing.assert_close(ours.encode_text(ids), F.normalize(texts, dim=-1))
    assert ours.fresh() == frozenset()
    assert torch.equal(ours.logit_scale, theirs.logit_scale)


def test_the_folder_says_what_pictures_and_texts_it_wants(tmp_path: Path) -> None:
    config = both(write_clip(tmp_path))
    preprocessing, tokenisation = expected_preprocessing(config), expected_tokenisation(config)
    assert preprocessing is not None
    assert (preprocessing.size, preprocessing.interpolation) == (32, "bicubic")
    require_fit(Towers(config), preprocessing=preprocessing, tokenizer=tokenisation.load())
    wrong = preprocessing.model_copy(update={"mean": (0.1, 0.1, 0.1)})
    with pytest.raises(ConfigError, match=r"preprocessing\.mean"):
        require_fit(Towers(config), preprocessing=wrong, tokenizer=tokenisation.load())


def test_one_tower_of_it_is_enough(tmp_path: Path) -> None:
    whole = Towers(both(write_clip(tmp_path))).state_dict()
    image = Towers(TowerConfig(architecture=str(tmp_path), image_weights=str(tmp_path)))
    assert all(torch.equal(whole[name], tensor) for name, tensor in image.visual.state_dict(prefix="visual.").items())
    assert not image.fresh()
    text = Towers(TowerConfig(architecture=str(tmp_path), text_weights=str(tmp_path)))
    assert all(torch.equal(whole[name], tensor) for name, tensor in text.text.state_dict(prefix="text.").items())


def test_a_text_is_read_at_its_largest_id_where_the_config_is_of_the_old_kind(tmp_path: Path) -> None:
    file = write_clip(tmp_path) / "config.json"
    content = json.loads(file.read_text())
    content["text_config"]["eos_token_id"] = 2
    file.write_text(json.dumps(content))
    assert settings(str(tmp_path))["text_cfg"]["pool_type"] == "argmax"


def test_what_open_clip_has_no_counterpart_of_is_refused(tmp_path: Path) -> None:
    file = write_clip(tmp_path) / "config.json"
    content = json.loads(file.read_text())
    content["vision_config"]["hidden_act"] = "relu"
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="expected hidden_act quick_gelu or gelu in both towers"):
        settings(str(tmp_path))
    file.write_text("{")
    with pytest.raises(ConfigError, match="expected JSON"):
        settings(str(tmp_path))
