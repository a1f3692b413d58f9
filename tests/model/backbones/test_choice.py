"""The best backbone on this machine, the reason, and what a better one would change."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file
from small_architectures import architecture
from small_clip import write_clip

from entityclip.errors import ConfigError
from entityclip.model.backbones import BACKBONES, BackboneConfig, Choice, Task, at_hand, best_at_hand
from entityclip.model.backbones.check import check
from entityclip.model.compatibility import require_fit
from entityclip.model.towers import Towers
from entityclip.settings import read_config

JAPANESE = Task(languages=("ja",))


def chosen(backbone: Path | str, task: Task = JAPANESE) -> Choice:
    return best_at_hand(BackboneConfig(backbone=str(backbone)), task)


def open_clip_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(open_clip.CustomTextCLIP(**architecture()).state_dict(), folder / "open_clip_model.safetensors")
    how = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "squash"}
    whole = {"model_cfg": architecture(), "preprocess_cfg": how}
    (folder / "open_clip_config.json").write_text(json.dumps(whole))
    return folder


def timm_folder(folder: Path) -> Path:
    folder.mkdir()
    save_file(timm.create_model("test_efficientnet").state_dict(), folder / "model.safetensors")
    how = {"input_size": [3, 160, 160], "mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2], "interpolation": "bilinear"}
    (folder / "config.json").write_text(json.dumps({"architecture": "test_efficientnet", "pretrained_cfg": how}))
    return folder


# ---------------------------------------------------------------- auto
def test_from_scratch_is_a_choice() -> None:
    assert (chosen("none").name, chosen("none").towers.first_weights) == ("none", {})


def test_the_packaged_tower_is_taken_where_its_package_is_installed() -> None:
    lite = BACKBONES["efficientnet-lite0"]
    if at_hand(lite) is None:
        pytest.skip(f"needs the package {lite.package}")
    named = chosen("efficientnet-lite0")
    assert named.towers.first_weights == {"image_weights": "efficientnet-lite0"}
    assert (named.preprocessing.size, named.tokenisation, named.licence) == (224, None, "Apache-2.0")
    assert named.preprocessing.mean == pytest.approx((0.498,) * 3, abs=1e-3)
    assert "The settings name it" in named.message
    assert "entityclip backbones recipe siglip2-b16-256" in named.message  # what would read Japanese
    assert Towers(named.towers).fresh() == {"visual.head.proj.weight"}
    assert chosen("auto").name.startswith("efficientnet-lite")


def test_without_any_the_run_starts_from_scratch_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("entityclip.model.pretrained.lookup._in_package", lambda _: None)
    assert chosen("auto").name == "none"
    assert "install the extra 'backbones'" in chosen("auto").message
    with pytest.raises(ConfigError, match="entityclip backbones recipe efficientnet-lite2"):
        chosen("efficientnet-lite2")


def test_of_those_in_the_folders_the_best_that_reads_the_texts_is_taken(tmp_path: Path) -> None:
    write_clip(tmp_path / "llm-jp-clip-b16")  # Japanese alone
    open_clip_folder(tmp_path / "mobileclip2-s0")  # research alone
    config = BackboneConfig(folders=(tmp_path,))
    japanese = best_at_hand(config, JAPANESE)
    assert japanese.name == "llm-jp-clip-b16"
    assert japanese.towers.pretrained == str(tmp_path / "llm-jp-clip-b16")
    assert japanese.better == ""
    assert best_at_hand(config, Task(languages=("en",))).name not in ("llm-jp-clip-b16", "mobileclip2-s0")


def test_without_a_gpu_large_pictures_are_not_taken_unless_named(tmp_path: Path) -> None:
    (tmp_path / "dinov2-s14").mkdir()
    config = BackboneConfig(folders=(tmp_path,))
    assert best_at_hand(config, Task(device="cuda")).name == "dinov2-s14"
    assert best_at_hand(config, Task()).name != "dinov2-s14"
    named = best_at_hand(config.model_copy(update={"backbone": "dinov2-s14"}), Task()).preprocessing
    assert (named.size, named.mean) == (518, (0.485, 0.456, 0.406))  # the table knows what no file says


# ---------------------------------------------------------------- licences
def test_a_restricted_licence_is_refused_until_the_settings_accept_it_by_name(tmp_path: Path) -> None:
    open_clip_folder(tmp_path / "models" / "mobileclip2-s0")
    file = tmp_path / "entityclip.yaml"
    file.write_text(f"backbones: {{backbone: mobileclip2-s0, folders: ['{tmp_path / 'models'}']}}")
    refused = r"mobileclip2-s0: its licence apple-amlr has restrictions \(research only.*add 'apple-amlr' to backbones"
    with pytest.raises(ConfigError, match=refused):
        best_at_hand(read_config(file).backbones, Task())
    config = read_config(file).backbones.model_copy(update={"accept_licences": ("apple-amlr",)})
    assert best_at_hand(config, Task()).licence == "apple-amlr"


# ---------------------------------------------------------------- files of one's own
def test_a_folder_with_a_hugging_face_clip_is_taken_with_its_tokenizer(tmp_path: Path) -> None:
    made = chosen(write_clip(tmp_path / "mine"))
    assert made.name == "mine"
    assert made.tokenisation is not None
    towers = Towers(made.towers)
    require_fit(towers, preprocessing=made.preprocessing, tokenizer=made.tokenisation.load())
    assert not towers.fresh()


def test_a_folder_of_open_clip_is_taken_with_its_preprocessing(tmp_path: Path) -> None:
    made = chosen(open_clip_folder(tmp_path / "mine"))
    assert (made.preprocessing.resize, made.preprocessing.size) == ("squash", 32)
    assert not Towers(made.towers).fresh()


def test_a_folder_of_timm_gets_a_small_text_tower_beside_it(tmp_path: Path) -> None:
    folder = timm_folder(tmp_path / "mine")
    for given in (folder, folder / "model.safetensors"):
        made = chosen(given)
        assert (made.preprocessing.size, made.preprocessing.interpolation) == (160, "bilinear")
        assert made.tokenisation is None
        assert Towers(made.towers).fresh() == {"visual.head.proj.weight"}


def test_what_says_no_architecture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected auto, none, a file or folder here, or one of siglip2"):
        chosen(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="found none of them"):
        chosen(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match=r"found config\.json of a bert\. A text tower alone is given as"):
        chosen(tmp_path)
    with pytest.raises(ConfigError, match="text tower alone"):
        best_at_hand(BackboneConfig(backbone="minilm-l6", folders=(_empty(tmp_path / "minilm-l6"),)), Task())


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder.parent


# ---------------------------------------------------------------- the check
def test_a_check_shows_what_fits_and_what_is_fresh(tmp_path: Path) -> None:
    clip = check(str(write_clip(tmp_path / "clip")), BackboneConfig())
    assert (clip.fresh, clip.from_scratch, clip.dim, clip.size, clip.known) == ((), (), 16, 32, None)
    image = check(str(timm_folder(tmp_path / "timm")), BackboneConfig())
    assert (image.fresh, image.from_scratch) == (("visual.head.proj.weight",), ("text",))


def test_a_file_that_is_not_the_one_of_the_table_is_refused(tmp_path: Path) -> None:
    lite, folder = BACKBONES["efficientnet-lite0"], tmp_path / "efficientnet-lite0"
    folder.mkdir()
    model = timm.create_model(lite.architecture)
    save_file(model.state_dict(), folder / "model.safetensors")
    with pytest.raises(ConfigError, match=f"expected {lite.sha256} of efficientnet-lite0"):
        check(lite.name, BackboneConfig(folders=(tmp_path,)))


def test_a_backbone_whose_weights_are_no_numbers_is_refused(tmp_path: Path) -> None:
    folder = open_clip_folder(tmp_path / "mine")
    tensors = open_clip.CustomTextCLIP(**architecture()).state_dict()
    tensors["visual.proj"].fill_(torch.nan)
    save_file(tensors, folder / "open_clip_model.safetensors")
    with pytest.raises(ConfigError, match="no numbers"):
        check(str(folder), BackboneConfig())
