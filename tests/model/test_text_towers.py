"""Text towers of every kind: what open_clip encodes is the pooled token, and padding is never attended to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_architectures import (
    BERT,
    DIM,
    M2M,
    ROBERTA,
    T5,
    TEXT_TOWERS,
    VOCABULARY,
    architecture,
    coca,
    hugging_face_text,
)
from torch.nn import functional as F

from entityclip.errors import ConfigError
from entityclip.model.config import TowerConfig
from entityclip.model.text_towers import attend_causally
from entityclip.model.towers import Towers

LENGTHS = (12, 7, 2)
PADS = {"siglip": 1, "end of text": 1}


def towers(architecture: dict[str, Any], **config: Any) -> Towers:
    torch.manual_seed(0)
    return Towers(TowerConfig(architecture=architecture, **config)).eval()


def texts(*, end: int, pad: int, most: int = VOCABULARY) -> torch.Tensor:
    """(3, 12) ids; the last of each length is ``end``."""
    ids = torch.randint(5, most - 1, (3, 12), generator=torch.Generator().manual_seed(0))
    for row, length in enumerate(LENGTHS):
        ids[row, length - 1], ids[row, length:] = end, pad
    return ids


def encoded(mine: Towers, ids: torch.Tensor) -> torch.Tensor:
    found = mine.text(ids)
    return found[0] if isinstance(found, tuple) else found


# ---------------------------------------------------------------- open_clip's own
@pytest.mark.parametrize("kind", TEXT_TOWERS)
def test_the_pooled_token_is_what_open_clip_encodes_whatever_the_padding(kind: str) -> None:
    mine = towers(coca() if kind == "coca" else architecture(text=TEXT_TOWERS[kind]))
    ids = texts(end=2 if kind == "end of text" else VOCABULARY, pad=PADS.get(kind, 0))
    with torch.no_grad():
        tokens, expected = mine.text_tokens(ids), encoded(mine, ids)
        assert expected.std(dim=0).min() > 0
        torch.testing.assert_close(tokens.pooled(), expected, atol=1e-5, rtol=1e-4)
        for row, length in enumerate(LENGTHS):
            short = mine.text_tokens(ids[row : row + 1, :length])
            torch.testing.assert_close(short.pooled()[0], expected[row], atol=1e-5, rtol=1e-4)
    assert tokens.tokens.shape[2] == DIM


@pytest.mark.parametrize("kind", TEXT_TOWERS)
def test_in_training_a_causal_tower_attends_without_a_mask_and_to_the_same(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = towers(coca() if kind == "coca" else architecture(text=TEXT_TOWERS[kind])).train()
    ids = texts(end=2 if kind == "end of text" else VOCABULARY, pad=PADS.get(kind, 0))
    expected = mine.text_tokens(ids).tokens
    seen: list[tuple[bool, bool]] = []
    attention = F.scaled_dot_product_attention

    def noting(q: Any, k: Any, v: Any, mask: Any, dropout: float, causal: bool) -> torch.Tensor:
        seen.append((mask is not None, causal))
        return attention(q, k, v, mask, dropout, causal)

    monkeypatch.setattr(F, "scaled_dot_product_attention", noting)
    attend_causally(mine.text)
    torch.testing.assert_close(mine.text_tokens(ids).tokens, expected, atol=1e-6, rtol=1e-6)
    causal = kind in ("clip", "end of text")
    assert seen == [(False, True) if causal else (kind == "coca", False)] * 2
    seen.clear()
    mine.eval().text_tokens(ids)  # whatever exports or serves the model sees open_clip's own calls
    assert not any(causal for _, causal in seen)


@pytest.mark.parametrize("kind", TEXT_TOWERS)
def test_padding_is_masked_and_the_pooled_position_is_not(kind: str) -> None:
    mine = towers(coca() if kind == "coca" else architecture(text=TEXT_TOWERS[kind]))
    tokens = mine.text_tokens(texts(end=2 if kind == "end of text" else VOCABULARY, pad=PADS.get(kind, 0)))
    assert tokens.mask[torch.arange(3), tokens.at].all()
    extra = {"siglip": (0, 1, 1), "coca": (1, 1, 1)}.get(kind, (0, 0, 0))  # the pooled position behind the text
    assert tokens.mask.sum(dim=1).tolist() == [n + more for n, more in zip(LENGTHS, extra, strict=True)]


def test_a_text_longer_than_the_tower_is_refused_with_both_lengths() -> None:
    with pytest.raises(ConfigError, match=r"13 tokens.* 12"):
        towers(architecture()).text_tokens(torch.ones(1, 13, dtype=torch.long))


def test_a_longer_context_is_read_to_its_end() -> None:
    mine = towers(architecture(text=TEXT_TOWERS["clip"] | {"context_length": 200}))
    ids = torch.randint(1, 1000, (1, 180), generator=torch.Generator().manual_seed(0))
    ids[0, -1] = 49407
    changed = ids.clone()
    changed[0, 150] += 1
    assert mine.longest_text == 200
    assert not torch.allclose(mine.text_tokens(ids).pooled(), mine.text_tokens(changed).pooled())


# ---------------------------------------------------------------- Hugging Face
@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    for name, config in {"roberta": ROBERTA, "bert": BERT, "t5": T5, "m2m": M2M}.items():
        config.save_pretrained(root / name)
    return {path.name: path for path in root.iterdir()}


KINDS = [
    ("roberta", "mean_pooler", "mlp"),
    ("roberta", "cls_pooler", "linear"),
    ("bert", "cls_last_hidden_state_pooler", "linear"),
    ("t5", "mean_pooler", "mlp"),
    ("m2m", "cls_pooler", "linear"),
]


@pytest.mark.parametrize(("name", "pooler", "proj"), KINDS)
def test_a_hugging_face_tower_gives_what_open_clip_encodes(
    folders: dict[str, Path], name: str, pooler: str, proj: str
) -> None:
    text = hugging_face_text(hf_pooler_type=pooler, hf_proj_type=proj)
    mine = towers(architecture(text=text), text_folder=str(folders[name]))
    ids = texts(end=2, pad=1)
    with torch.no_grad():
        tokens, expected = mine.text_tokens(ids), encoded(mine, ids)
        assert expected.std(dim=0).min() > 0
        torch.testing.assert_close(tokens.pooled(), expected, atol=1e-5, rtol=1e-4)
        short = mine.text_tokens(ids[1:2, :7])
        torch.testing.assert_close(short.pooled()[0], expected[1], atol=1e-5, rtol=1e-4)
    assert tokens.tokens.shape == (3, 13, DIM)
    assert tokens.mask.sum(dim=1).tolist() == [length + 1 for length in LENGTHS]


def test_a_maximum_is_taken_over_the_text_alone(folders: dict[str, Path]) -> None:
    """open_clip's own max_pooler cannot be called: it fills by a mask of integers."""
    text = hugging_face_text(hf_pooler_type="max_pooler", hf_proj_type="linear")
    mine = towers(architecture(text=text), text_folder=str(folders["roberta"]))
    ids = texts(end=2, pad=1)
    with torch.no_grad():
        hidden = mine.text.transformer(ids[1:2, :7]).last_hidden_state
        expected = mine.text.proj(hidden.amax(dim=1))
        torch.testing.assert_close(mine.text_tokens(ids).pooled()[1:2], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "longest"), [("roberta", 12), ("bert", 12), ("t5", None), ("m2m", None)])
def test_the_longest_text_is_what_positions_are_left_for(
    folders: dict[str, Path], name: str, longest: int | None
) -> None:
    mine = towers(architecture(text=hugging_face_text()), text_folder=str(folders[name]))
    assert mine.longest_text == longest
    mine.text_tokens(torch.full((1, longest or 100), 5))


# ---------------------------------------------------------------- refused
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TEXT_TOWERS["clip"] | {"pool_type": "none"}, "pooling 'none'"),
        (hugging_face_text(), "text_folder"),
        (hugging_face_text(hf_pooler_type="best_pooler"), "cannot build"),
        (hugging_face_text(hf_proj_type=None), "hf_proj_type"),
    ],
)
def test_text_towers_that_cannot_be_built_are_refused(
    folders: dict[str, Path], text: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = None if expected == "text_folder" else str(folders["roberta"])
    with pytest.raises(ConfigError, match=expected):
        towers(architecture(text=text), text_folder=folder)


def test_a_folder_without_the_towers_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json"):
        towers(architecture(text=hugging_face_text()), text_folder=str(tmp_path))
