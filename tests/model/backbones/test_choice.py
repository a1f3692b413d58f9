"""The best backbone on this machine, the reason, and what a better one would change."""

from __future__ import annotations

from pathlib import Path

import pytest

from entityclip.errors import ConfigError
from entityclip.model.backbones import BACKBONES, BackboneConfig, Task, at_hand, best_at_hand
from entityclip.model.towers import Towers


def test_from_scratch_is_a_choice() -> None:
    chosen = best_at_hand(BackboneConfig(backbone="none"), Task())
    assert (chosen.name, chosen.towers.first_weights) == ("none", {})


def test_the_packaged_tower_is_at_hand_where_its_package_is_installed() -> None:
    lite = BACKBONES["efficientnet-lite0"]
    if at_hand(lite) is None:
        pytest.skip(f"needs the package {lite.package}")
    chosen = best_at_hand(BackboneConfig(backbone="efficientnet-lite0"), Task())
    assert chosen.towers.first_weights == {"image_weights": "efficientnet-lite0"}
    assert chosen.preprocessing.size == 224
    assert chosen.preprocessing.mean == pytest.approx((0.498,) * 3, abs=1e-3)
    assert "The settings name it" in chosen.message
    assert Towers(chosen.towers).fresh() == {"visual.head.proj.weight"}
    assert best_at_hand(BackboneConfig(), Task(languages=("ja",))).name.startswith("efficientnet-lite")


def test_a_folder_of_the_settings_comes_first(tmp_path: Path) -> None:
    (tmp_path / "efficientnet-lite1").mkdir()
    chosen = best_at_hand(BackboneConfig(backbone="efficientnet-lite1", folders=(tmp_path,)), Task())
    assert chosen.towers.image_weights == str(tmp_path / "efficientnet-lite1")


def test_a_backbone_that_is_not_here_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("entityclip.model.backbones.lookup._in_package", lambda _: None)
    with pytest.raises(ConfigError, match="entityclip backbones recipe efficientnet-lite2"):
        best_at_hand(BackboneConfig(backbone="efficientnet-lite2"), Task())
    chosen = best_at_hand(BackboneConfig(), Task())
    assert chosen.name == "none"
    assert "install the extra 'backbones'" in chosen.message
