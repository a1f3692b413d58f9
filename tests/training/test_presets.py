"""Every preset is a run that could start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_clip import write_clip

from entityclip.data.preprocessing import Preprocessing
from entityclip.data.sources import SOURCES
from entityclip.errors import ConfigError
from entityclip.model.backbones import BACKBONES, BackboneConfig, Choice, Task, best_at_hand
from entityclip.model.backbones.first_towers import towers_of_backbone
from entityclip.model.compatibility import require_fit
from entityclip.model.config import TowerConfig
from entityclip.model.entityclip import EntityCLIP
from entityclip.paths import DataLayout
from entityclip.training import TrainConfig, presets, read_config, run_key
from entityclip.training.adapters import optimizer
from entityclip.training.presets import PRESETS, preset
from entityclip.training.text_settings import settle_texts


@pytest.mark.parametrize("name", PRESETS)
def test_preset_describes_a_run_that_is_possible(name: str) -> None:
    chosen = preset(name)
    assert chosen.name == name
    assert chosen.source in SOURCES
    assert chosen.shares(sealed=0.1).sealed == 0.1
    assert TrainConfig.model_validate_json(chosen.train.model_dump_json()) == chosen.train


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_towers_of_a_preset_take_its_pictures_and_its_texts(name: str, data: DataLayout, tmp_path: Path) -> None:
    config = settle_texts(preset(name).train, data, folder=tmp_path)
    towers = config.model.towers.without_weights()  # their shapes are the same
    model = EntityCLIP(config.model.model_copy(update={"towers": towers})).eval()
    sizes = [config.preprocessing.size] + [config.small_size] * (config.small_until > 0)
    ids = config.tokenisation.load()(["word " * 200])
    assert ids.shape[1] == config.tokenisation.context
    with torch.inference_mode():
        for size in sizes:
            assert model.encode_image(torch.zeros(1, 3, size, size)).shape == (1, model.dim)
        assert model.encode_text(ids).shape == (1, model.dim)


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_mirrors_pictures(name: str) -> None:
    assert not preset(name).train.augmentation.flip


def test_mirroring_and_letterboxing_are_settings_of_a_run(tmp_path: Path) -> None:
    file = tmp_path / "設定.yaml"
    file.write_text("preprocessing: {size: 96, resize: letterbox}\naugmentation: {flip: true}\n")
    config = read_config(file)
    assert (config.preprocessing.resize, config.augmentation.flip) == ("letterbox", True)
    assert run_key(config, data_hash="d") != run_key(TrainConfig(), data_hash="d")
    file.write_text("rate: 0.1\n")
    with pytest.raises(ConfigError, match="rate is now called learning_rate"):
        read_config(file)
    file.write_text("preprocessing: {resize: longest}\n")
    with pytest.raises(ConfigError, match=r"preprocessing.resize.*'shortest', 'squash' or 'letterbox'"):
        read_config(file)


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match="'large' is unknown; known are demo, photos, grocery, table, published, tiny"
    ):
        preset("large")


def test_no_preset_for_a_processor_computes_in_half_precision() -> None:
    """The same preset is the same model on every processor, whether it computes in bf16 or not."""
    for name in ("demo", "photos", "grocery", "table", "tiny"):
        assert preset(name).train.precision == "float32"


def test_photos_without_a_backbone_trains_from_scratch() -> None:
    scratch = best_at_hand(BackboneConfig(backbone="none"), Task())
    assert presets.photos(scratch).train == presets.demo().train.model_copy(update={"backbone": scratch.message})


def test_photos_reads_kept_features_of_the_packaged_tower_and_shows_whole_pictures() -> None:
    lite = TowerConfig(architecture="entityclip-photos-512", image_weights="efficientnet-lite0")
    how = Preprocessing(size=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    chosen = presets.photos(Choice(name="efficientnet-lite0", towers=lite, preprocessing=how, reason="")).train
    assert (chosen.adaptation.views, chosen.adaptation.text, chosen.minutes) == (4, "all", 5)
    assert (chosen.preprocessing.resize, chosen.preprocessing.mean) == ("letterbox", how.mean)
    clip = TowerConfig(architecture="ViT-B-32", pretrained="/models/clip.safetensors")
    both = presets.photos(Choice(name="clip", towers=clip, preprocessing=how, reason="")).train
    assert (both.adaptation.views, both.adaptation.text) == (2, "same")


def test_frozen_features_come_from_a_pretrained_tower_and_the_rest_of_the_config_stays() -> None:
    lite = TowerConfig(architecture="entityclip-photos-512", image_weights="efficientnet-lite0")
    chosen = Choice(name="lite", towers=lite, preprocessing=Preprocessing(size=224), reason="")
    config = presets.demo().train.changed(epochs=3, seed=7)
    frozen = presets.frozen(config, chosen, size=96)
    assert (frozen.adaptation.towers, frozen.adaptation.text, frozen.adaptation.views) == ("none", "all", 4)
    assert (frozen.preprocessing.size, frozen.epochs, frozen.seed, frozen.loss) == (96, 3, 7, config.loss)
    with pytest.raises(ConfigError, match="no pretrained image tower is on this machine"):
        presets.frozen(config, best_at_hand(BackboneConfig(backbone="none"), Task()))


def test_the_published_recipe_has_the_optimizer_of_its_code() -> None:
    config = preset("published").train
    assert (config.betas, config.epsilon, config.warmup, config.decay) == ((0.9, 0.999), 1e-8, 0, 0)
    made = optimizer(EntityCLIP(preset("tiny").train.model), config)
    assert (made.defaults["betas"], made.defaults["eps"]) == (config.betas, config.epsilon)
    with pytest.raises(ConfigError, match=r"betas\.1"):
        config.changed(betas=(0.9, 1.0))


def test_a_table_has_photographs_where_no_preset_is_named() -> None:
    assert [presets.usual_preset(source) for source in ("table", "grocery", "catalog", "n24news")] == [
        "photos",
        "grocery",
        "demo",
        "demo",
    ]


def test_a_preset_starts_from_the_backbone_that_the_settings_name_and_says_so(tmp_path: Path) -> None:
    named = BackboneConfig(backbone=str(write_clip(tmp_path / "shop-clip")))
    for name in ("tiny", "photos"):
        config = preset(name, backbones=named).train
        assert config.model.towers.pretrained == str(tmp_path / "shop-clip")
        assert config.backbone.startswith("Backbone: shop-clip.")
        towers = EntityCLIP(config.model)
        require_fit(towers, preprocessing=config.preprocessing, tokenizer=config.tokenisation.load())
    scratch = preset("photos", backbones=BackboneConfig(backbone="none")).train
    assert (scratch.model.towers.first_weights, scratch.backbone) == ({}, "Backbone: none. The settings say so.")
    assert preset("tiny", backbones=BackboneConfig()).train.backbone == ""


@pytest.mark.parametrize(
    ("backbone", "views"), [("siglip2-b16-256", 2), ("dinov2-s14", 2), ("efficientnet-lite0", 4), ("convnext-tiny", 0)]
)
def test_photos_keeps_features_of_every_tower_that_can_be_cut(backbone: str, views: int) -> None:
    towers = towers_of_backbone(BACKBONES[backbone], "weights", Path("weights"))
    choice = Choice(name=backbone, towers=towers, preprocessing=Preprocessing(), reason="")
    assert presets.photos(choice).train.adaptation.views == views
