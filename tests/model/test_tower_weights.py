"""Weights of one tower alone: all of them or none, and a fresh way into the joint space where they have none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from open_clip.timm_model import TimmModel
from safetensors.torch import load_file, save_file
from small_architectures import BERT, ROBERTA, T5, architecture, hugging_face_text, write_tokenizer
from torch.nn import functional as F
from transformers import AutoModel, BertForMaskedLM, XLMRobertaForMaskedLM

from entityclip.errors import ConfigError
from entityclip.model.compatibility import expected_preprocessing, expected_tokenisation
from entityclip.model.config import TowerConfig
from entityclip.model.towers import Towers

PICTURES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
IDS = torch.tensor([[0, 5, 9, 2, 1, 1], [0, 7, 8, 9, 11, 2]])
TIMM = architecture(vision={"timm_model_name": "test_efficientnet", "image_size": 64})
HUGGING_FACE = architecture(text=hugging_face_text(hf_pooler_type="mean_pooler", hf_proj_type="linear"))


def towers(content: dict[str, Any], **config: Any) -> Towers:
    torch.manual_seed(0)
    return Towers(TowerConfig(architecture=content, **{name: str(value) for name, value in config.items()})).eval()


# ---------------------------------------------------------------- image tower
def timm_file(folder: Path, name: str = "test_efficientnet") -> tuple[Path, torch.nn.Module]:
    """A classifier of timm as the hub has it: weights, and the JSON file that says what it was fed with."""
    torch.manual_seed(3)
    model = timm.create_model(name, num_classes=10).eval()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    how = {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2], "interpolation": "bilinear"}
    (folder / "config.json").write_text(json.dumps({"architecture": name, "pretrained_cfg": how}))
    return folder / "model.safetensors", model


def test_an_image_tower_of_timm_gives_timms_own_features_through_a_fresh_projection(tmp_path: Path) -> None:
    file, model = timm_file(tmp_path)
    for given in (file, tmp_path):
        loaded = towers(TIMM, image_weights=given)
        assert loaded.fresh() == {"visual.head.proj.weight"}
        assert not any(name.startswith("text.") for name in loaded.loaded)
        assert isinstance(loaded.visual, TimmModel)
        with torch.inference_mode():
            features = model.forward_head(model.forward_features(PICTURES), pre_logits=True)
            torch.testing.assert_close(loaded.visual.trunk(PICTURES), features)
            expected = F.normalize(loaded.visual.head(features), dim=-1)
            torch.testing.assert_close(loaded.encode_image(PICTURES), expected)


def test_a_projection_inside_the_trunk_is_fresh_and_not_the_classifier(tmp_path: Path) -> None:
    file, _ = timm_file(tmp_path, "test_vit")
    vision = {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "", "image_size": 160}
    loaded = towers(architecture(vision=vision), image_weights=file)
    assert loaded.fresh() == {"visual.trunk.head.weight", "visual.trunk.head.bias"}


def test_the_file_beside_the_weights_says_what_pictures_they_want(tmp_path: Path) -> None:
    file, _ = timm_file(tmp_path)
    made = expected_preprocessing(TowerConfig(architecture=TIMM, image_weights=str(file)))
    assert made is not None
    assert (made.size, made.mean, made.std, made.interpolation) == (64, (0.4,) * 3, (0.2,) * 3, "bilinear")
    (tmp_path / "config.json").unlink()
    assert expected_preprocessing(TowerConfig(architecture=TIMM, image_weights=str(file))) is None


@pytest.mark.parametrize("content", [architecture(), TIMM])
def test_a_tower_is_taken_out_of_a_whole_clip_with_its_projection(content: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(7)
    clip = open_clip.CustomTextCLIP(**content)
    save_file(clip.state_dict(), tmp_path / "clip.safetensors")
    image, text = (towers(content, **{which: tmp_path}) for which in ("image_weights", "text_weights"))
    assert not image.fresh()
    assert all(torch.equal(image.state_dict()[n], t) for n, t in clip.state_dict().items() if n.startswith("visual."))
    assert all(torch.equal(text.state_dict()[n], t) for n, t in clip.state_dict().items() if n.startswith("text."))
    assert {name.split(".")[0] for name in image.loaded} == {"visual"}
    assert {name.split(".")[0] for name in text.loaded} == {"text"}


def test_a_timm_file_of_another_model_is_refused_by_name(tmp_path: Path) -> None:
    file, _ = timm_file(tmp_path, "test_resnet")
    with pytest.raises(ConfigError, match=r"model\.safetensors: does not fit.*missing: trunk\.conv_stem"):
        towers(TIMM, image_weights=file)
    tensors = load_file(timm_file(tmp_path)[0])
    del tensors["conv_stem.weight"]
    save_file(tensors | {"more": torch.ones(1)}, file)
    with pytest.raises(ConfigError, match=r"missing: trunk\.conv_stem\.weight; left over: trunk\.more"):
        towers(TIMM, image_weights=file)


# ---------------------------------------------------------------- text tower
@pytest.mark.parametrize("config", [ROBERTA, BERT, T5], ids=lambda config: config.model_type)
@pytest.mark.parametrize("headed", [False, True])
def test_a_hugging_face_text_tower_is_read_from_its_folder(config: Any, headed: bool, tmp_path: Path) -> None:
    torch.manual_seed(5)
    heads = {"xlm-roberta": XLMRobertaForMaskedLM, "bert": BertForMaskedLM}
    model = heads[config.model_type](config) if headed and config.model_type in heads else AutoModel.from_config(config)
    model.eval().save_pretrained(tmp_path)
    loaded = towers(HUGGING_FACE, text_weights=tmp_path)
    assert loaded.fresh() == {"text.proj.weight"}
    base = getattr(model, model.base_model_prefix, model)
    encoder = base.encoder if config.is_encoder_decoder else base
    mask = (IDS != 1).long()
    with torch.inference_mode():
        hidden = encoder(input_ids=IDS, attention_mask=mask).last_hidden_state
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        expected = F.normalize(loaded.text.proj(pooled), dim=-1)
        torch.testing.assert_close(loaded.encode_text(IDS), expected)


def test_its_folder_is_also_where_the_tokenizer_is(tmp_path: Path) -> None:
    AutoModel.from_config(ROBERTA).save_pretrained(write_tokenizer(tmp_path, ["a blue kettle"]))
    config = TowerConfig(architecture=HUGGING_FACE, text_weights=str(tmp_path))
    assert expected_tokenisation(config.model_copy(update={"architecture": "xlm-roberta-base-ViT-B-32"})).folder == str(
        tmp_path
    )


def test_a_text_tower_with_more_or_fewer_layers_than_its_config_says_is_refused(tmp_path: Path) -> None:
    AutoModel.from_config(ROBERTA).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    for layers, message in (
        (1, r"left over: transformer\.encoder\.layer\.1"),
        (3, r"missing: transformer\.encoder\.layer\.2"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(written | {"num_hidden_layers": layers}))
        with pytest.raises(ConfigError, match=message):
            towers(HUGGING_FACE, text_weights=tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(written | {"vocab_size": 99}))
    with pytest.raises(ConfigError, match="transformers cannot load it"):
        towers(HUGGING_FACE, text_weights=tmp_path)


def test_a_file_without_a_text_tower_is_refused(tmp_path: Path) -> None:
    file, _ = timm_file(tmp_path / "timm")
    with pytest.raises(ConfigError, match="no text tower of open_clip in it"):
        towers(HUGGING_FACE | {"text_cfg": architecture()["text_cfg"]}, text_weights=file)


# ---------------------------------------------------------------- settings
def test_weights_of_one_tower_and_of_both_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="pretrained fills both towers"):
        TowerConfig(pretrained="openai", image_weights="efficientnet-lite0")


def test_what_is_neither_here_nor_a_backbone_is_refused() -> None:
    with pytest.raises(ConfigError, match="'nowhere': neither a file or folder here nor a name of"):
        towers(TIMM, image_weights="nowhere")


def test_a_card_names_weights_without_their_folder(tmp_path: Path) -> None:
    config = TowerConfig(image_weights=str(tmp_path / "lite.pth"), text_weights="efficientnet-lite0")
    assert config.portable().first_weights == {"image_weights": "lite.pth", "text_weights": "efficientnet-lite0"}
    assert config.without_weights().first_weights == {}
