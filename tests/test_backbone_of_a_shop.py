"""A shop whose settings name a Hugging Face CLIP of its own: the whole way without a network, then without the CLIP."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from main_job import last_line, retrain
from small_clip import write_clip

from entityclip.data.sources.catalog import draw_catalog
from entityclip.model import checkpoint
from entityclip.paths import Layout
from flows.workspace.registry import champion

pytestmark = pytest.mark.slow


def test_a_shop_is_served_from_its_own_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    layout = Layout(tmp_path / "shop")
    draw_catalog(tmp_path / "drawn", products=60)
    clip = write_clip(tmp_path / "shop-clip", context=77)
    layout.root.mkdir()
    layout.config.write_text(f"backbones: {{backbone: {clip}}}\n")
    done = retrain(layout.root, "--source-path", str(tmp_path / "drawn"), "--products", "60")
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
