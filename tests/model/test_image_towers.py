"""Image towers of every kind: what open_clip encodes is the first token, and the others are in its space."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_architectures import DIM, IMAGE_TOWERS, RESNET, VIT, architecture, coca

from entityclip.errors import ConfigError
from entityclip.model.config import TowerConfig
from entityclip.model.towers import Towers


def towers(vision: dict[str, Any], **config: Any) -> Towers:
    torch.manual_seed(0)
    return Towers(TowerConfig(architecture=architecture(vision=vision), **config)).eval()


def noise(vision: dict[str, Any], count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, vision["image_size"], vision["image_size"], generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", IMAGE_TOWERS)
def test_the_pooled_token_is_what_open_clip_encodes(kind: str) -> None:
    vision = IMAGE_TOWERS[kind]
    mine, pictures = towers(vision), noise(vision)
    with torch.no_grad():
        tokens, encoded = mine.image_tokens(pictures), mine.visual(pictures)
    assert encoded.std(dim=0).min() > 0  # of different pictures, different vectors
    torch.testing.assert_close(tokens.pooled(), encoded, atol=1e-5, rtol=1e-4)
    assert tokens.tokens.shape[::2] == (2, DIM)
    assert tokens.tokens.shape[1] > 4
    assert tokens.mask.all()


def test_coca_reads_pictures_as_open_clip_does() -> None:
    vision = IMAGE_TOWERS["coca, attentional pooling"]
    torch.manual_seed(0)
    mine = Towers(TowerConfig(architecture=coca(vision=vision))).eval()
    pictures = noise(vision)
    torch.testing.assert_close(mine.image_tokens(pictures).pooled(), mine.visual(pictures)[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["timm resnet", "timm vit, registers", "vit, mean of the patches"])
def test_where_a_mean_is_pooled_the_positions_have_that_mean(kind: str) -> None:
    """So positions and pooled vector share one space; a head without bias or norm behind the mean is linear."""
    vision = IMAGE_TOWERS[kind]
    with torch.no_grad():
        tokens = towers(vision).image_tokens(noise(vision)).tokens
    if kind == "timm vit, registers":  # its norm stands behind the mean
        assert torch.nn.functional.cosine_similarity(tokens[:, 1:].mean(dim=1), tokens[:, 0]).min() > 0.9
    else:
        torch.testing.assert_close(tokens[:, 1:].mean(dim=1), tokens[:, 0], atol=1e-4, rtol=1e-3)


def test_a_position_of_a_convolution_sees_its_own_corner_most() -> None:
    """Tokens come row by row from the top left, as in a ViT."""
    vision = IMAGE_TOWERS["timm convnext"]
    mine, pictures = towers(vision), noise(vision, 1)
    changed = pictures.clone()
    changed[..., :16, 48:] += 3  # top right
    with torch.no_grad():
        moved = (mine.image_tokens(changed).tokens - mine.image_tokens(pictures).tokens).norm(dim=-1)[0, 1:]
    side = round(len(moved) ** 0.5)
    assert moved.argmax() == side - 1


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_pictures_of_another_size_are_refused_with_both_sizes(kind: str) -> None:
    mine = towers(IMAGE_TOWERS[kind])
    with pytest.raises(ConfigError, match=f"48 pixels.* {IMAGE_TOWERS[kind]['image_size']}"):
        mine.image_tokens(torch.randn(1, 3, 48, 48))


def test_a_timm_vit_takes_its_own_size_only_and_a_convnet_any() -> None:
    assert towers({"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "token"}).picture_size == 224
    assert towers(IMAGE_TOWERS["timm resnet"]).picture_size is None


def test_mean_pooling_takes_any_picture_size() -> None:
    mine = towers(RESNET, mean_pool=True)
    assert mine.picture_size is None
    for side in (32, 64, 96):
        assert mine.encode_image(torch.randn(2, 3, side, side)).shape == (2, DIM)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"pool_type": "none"}, "'none'"),
        ({"attentional_pool": "parallel", "width": 64}, "'parallel'"),
        ({"image_size": [32, 64]}, "squares"),
        ({"timm_model_name": "no_such_model"}, "no_such_model"),
        ({"timm_model_name": "mobilenetv4_conv_small"}, "gives 1280 values, where open_clip projects 960"),
        ({"pool_type": "best"}, "AssertionError"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_towers_that_give_no_single_vector_or_do_not_exist_are_refused(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        towers(VIT | change)
