"""Both towers together: where architectures come from, unit vectors, blocks, and gradient checkpointing."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from small_architectures import IMAGE_TOWERS, ROBERTA, TEXT, VIT, architecture, hugging_face_text

from entityclip.errors import ConfigError
from entityclip.model.config import TowerConfig
from entityclip.model.towers import Towers

KINDS = ["vit", "resnet", "timm resnet", "timm convnext", "timm efficientnet", "timm vit, mean"]


def towers(content: Any, **config: Any) -> Towers:
    torch.manual_seed(0)
    return Towers(TowerConfig(architecture=content, **config))


def inputs(vision: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures, and ids that end with the largest one."""
    draw = torch.Generator().manual_seed(0)
    pictures = torch.randn(4, 3, vision["image_size"], vision["image_size"], generator=draw)
    ids = torch.randint(3, 90, (4, 9), generator=draw)
    ids[:, -1] = 100
    return pictures, ids


def test_embeddings_have_unit_length() -> None:
    mine, (pictures, ids) = towers(architecture()), inputs(VIT)
    for rows in (mine.encode_image(pictures), mine.encode_text(ids)):
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(4))


# ---------------------------------------------------------------- where an architecture comes from
def test_a_file_a_folder_and_their_content_make_the_same_towers(tmp_path: Path) -> None:
    content = architecture()
    (tmp_path / "mine.json").write_text(json.dumps(content))
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": content, "preprocess_cfg": {}}))
    wanted = towers(content).state_dict()
    for given in (str(tmp_path / "mine.json"), str(tmp_path)):
        found = towers(given).state_dict()
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_an_unknown_architecture_is_named() -> None:
    with pytest.raises(ConfigError, match="no-such-thing"):
        towers("no-such-thing")


def test_weights_without_a_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="pretrained"):
        TowerConfig(pretrained="")


# ---------------------------------------------------------------- blocks
@pytest.mark.parametrize(
    ("kind", "count"), zip([*KINDS, "siglip, attention pooling"], [2, 4, 4, 4, 5, 6, 6], strict=True)
)
def test_blocks_come_in_order_from_input_to_output(kind: str, count: int) -> None:
    vision = IMAGE_TOWERS[kind]
    mine, called = towers(architecture(vision=vision)).eval(), []
    images, texts = mine.blocks()
    assert len(images) == count
    assert len(texts) == TEXT["layers"]
    for block in images + texts:
        block.register_forward_hook(lambda block, *_: called.append(block))
    pictures, ids = inputs(vision)
    mine.image_tokens(pictures), mine.text_tokens(ids)
    assert [id(block) for block in called] == [id(block) for block in images + texts]


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    ROBERTA.save_pretrained(tmp_path)
    return str(tmp_path)


def test_a_hugging_face_tower_has_blocks_as_well(encoder: str) -> None:
    mine = towers(architecture(text=hugging_face_text()), text_folder=encoder)
    assert [type(block).__name__ for block in mine.blocks()[1]] == ["XLMRobertaLayer"] * 2


# ---------------------------------------------------------------- gradient checkpointing
def step(mine: Towers, vision: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Outputs, gradients and running statistics after a forward and a backward pass."""
    pictures, ids = inputs(vision)
    torch.manual_seed(1)
    image, text = mine.image_tokens(pictures), mine.text_tokens(ids)
    (image.tokens.square().mean() + (text.pooled() * image.pooled()).sum()).backward()
    gradients = {f"{name}.grad": p.grad for name, p in mine.named_parameters() if p.grad is not None}
    return {"image": image.tokens, "text": text.tokens} | gradients | dict(mine.named_buffers())


@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_activations_change_nothing(kind: str) -> None:
    """Not even the statistics of batch norms, though the blocks see the batch twice."""
    vision = IMAGE_TOWERS[kind]
    mine = towers(architecture(vision=vision)).train()
    again = deepcopy(mine)
    again.checkpoint_gradients()
    expected, found = step(mine, vision), step(again, vision)
    assert found.keys() == expected.keys()
    assert len([name for name in found if name.endswith(".grad")]) > 20
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], msg=lambda m, n=name: f"{n}: {m}")


def test_a_hugging_face_tower_recomputes_with_the_same_dropout(encoder: str) -> None:
    mine = towers(architecture(text=hugging_face_text()), text_folder=encoder).train()
    again = deepcopy(mine)
    again.checkpoint_gradients()
    assert mine.text.config.hidden_dropout_prob > 0
    expected, found = step(mine, VIT), step(again, VIT)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])


def kept_bytes(mine: Towers, pictures: torch.Tensor) -> int:
    """What autograd holds for the backward pass of the image tower, weights not counted."""
    held: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in mine.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = mine.image_tokens(pictures)
    assert output.tokens.requires_grad
    return sum(held.values())


@pytest.mark.parametrize("kind", ["vit", "timm convnext"])
def test_recomputing_holds_less_for_the_backward_pass(kind: str) -> None:
    vision = IMAGE_TOWERS[kind]
    mine = towers(architecture(vision=vision)).train()
    pictures, _ = inputs(vision)
    before = kept_bytes(mine, pictures)
    mine.checkpoint_gradients()
    assert kept_bytes(mine, pictures) < before / 2


def test_a_copy_of_checkpointed_towers_is_a_copy() -> None:
    """The recomputing block is the copy's own: a copied average of weights must not run the original's."""
    mine = towers(architecture()).eval()
    mine.checkpoint_gradients()
    copy, (pictures, _) = deepcopy(mine), inputs(VIT)
    with torch.no_grad():
        for parameter in copy.visual.transformer.parameters():
            parameter.mul_(2)
    assert not torch.allclose(copy.encode_image(pictures), mine.encode_image(pictures))
