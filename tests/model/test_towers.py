from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from entityclip.errors import ConfigError
from entityclip.model.towers import TowerConfig, Towers
from entityclip.text import Tokenisation

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
VISION = {
    "vit": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8},
}


@pytest.fixture(scope="module", autouse=True)
def architectures(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("architectures")
    for name, vision in VISION.items():
        settings = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT}
        (folder / f"test-{name}.json").write_text(json.dumps(settings))
    open_clip.add_model_config(folder)


def towers(name: str, **config: object) -> Towers:
    torch.manual_seed(0)
    return Towers(TowerConfig(architecture=f"test-{name}", **config)).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", VISION)
def test_the_pooled_token_is_what_open_clip_encodes(name: str) -> None:
    mine = towers(name)
    pictures = torch.randn(3, 3, VISION[name]["image_size"], VISION[name]["image_size"])
    tokens = mine.image_tokens(pictures)
    torch.testing.assert_close(tokens.pooled(), mine.visual(pictures), atol=1e-5, rtol=1e-4)
    assert tokens.tokens.shape[0] == 3
    assert tokens.tokens.shape[2] == 16
    assert tokens.tokens.shape[1] == 1 + (16 if name == "vit" else 4)


def test_text_tokens_are_read_where_open_clip_reads_whatever_the_padding() -> None:
    mine = towers("vit")
    texts = ["KX-204B", "a kettle in red with white dots", ""]
    short = Tokenisation().load()(texts)
    full = open_clip.SimpleTokenizer()(texts)
    assert short.shape[1] < full.shape[1] == 77
    expected = mine.text(full)
    torch.testing.assert_close(mine.text_tokens(full).pooled(), expected)
    torch.testing.assert_close(mine.text_tokens(short).pooled(), expected, atol=1e-5, rtol=1e-4)


def test_padding_is_masked_and_marks_are_not() -> None:
    tokens = towers("vit").text_tokens(Tokenisation().load()(["KX-204B", ""]))
    assert tokens.mask.sum(dim=1).tolist()[1] == 2
    assert tokens.mask[0].all()


def test_mean_pooling_takes_any_picture_size() -> None:
    mine = towers("resnet", mean_pool=True)
    for side in (32, 64, 96):
        assert mine.encode_image(torch.randn(2, 3, side, side)).shape == (2, 16)


def test_embeddings_have_unit_length() -> None:
    mine = towers("vit")
    vectors = [mine.encode_image(torch.randn(2, 3, 32, 32)), mine.encode_text(Tokenisation().load()(["a", "b"]))]
    for rows in vectors:
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(2))


def test_local_weights_are_loaded_strictly(tmp_path: Path) -> None:
    clip = open_clip.create_model("test-vit")
    weights = clip.state_dict()
    save_file({k: v.contiguous() for k, v in weights.items()}, tmp_path / "clip.safetensors")
    loaded = towers("vit", pretrained=str(tmp_path / "clip.safetensors"))
    torch.testing.assert_close(loaded.visual.conv1.weight, clip.visual.conv1.weight)
    del weights["visual.proj"]
    save_file({k: v.contiguous() for k, v in weights.items()}, tmp_path / "less.safetensors")
    with pytest.raises(ConfigError, match=r"less\.safetensors"):
        towers("vit", pretrained=str(tmp_path / "less.safetensors"))


@pytest.mark.parametrize("pretrained", ["nowhere.safetensors", "no-such-tag"])
def test_weights_that_are_not_there_are_never_replaced_by_random_ones(pretrained: str) -> None:
    with pytest.raises(ConfigError, match=pretrained):
        towers("vit", pretrained=pretrained)


def test_an_unknown_architecture_is_named() -> None:
    with pytest.raises(ConfigError, match="test-nothing"):
        towers("nothing")
