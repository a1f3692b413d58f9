"""First weights are all of the architecture's or none, and nothing in a file is ever run."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from small_architectures import architecture

from entityclip.errors import ConfigError
from entityclip.model.config import TowerConfig
from entityclip.model.towers import Towers
from entityclip.model.weights import read_weights

ARCHITECTURE = architecture()
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def weights() -> Tensors:
    torch.manual_seed(7)
    return open_clip.CustomTextCLIP(**ARCHITECTURE).state_dict()


def towers(pretrained: Path | str, architecture: dict[str, Any] = ARCHITECTURE) -> Towers:
    return Towers(TowerConfig(architecture=architecture, pretrained=str(pretrained)))


def without_text_prefix(weights: Tensors) -> Tensors:
    """As OpenAI's model and open_clip's plain ``CLIP`` are saved."""
    return {name.removeprefix("text."): tensor for name, tensor in weights.items()}


WRITERS: dict[str, Callable[[Tensors, Path], object]] = {
    "clip.safetensors": lambda w, p: save_file(w, p),
    "clip.pt": lambda w, p: torch.save(w, p),
    "epoch.pt": lambda w, p: torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in w.items()}}, p),
    "plain.bin": lambda w, p: torch.save(without_text_prefix(w), p),
    "half.safetensors": lambda w, p: save_file({k: v.half() for k, v in w.items()}, p),
}


@pytest.mark.parametrize("name", WRITERS)
def test_weights_of_every_form_are_loaded_whole(weights: Tensors, name: str, tmp_path: Path) -> None:
    WRITERS[name](weights, tmp_path / name)
    for given in (tmp_path / name, tmp_path):  # the file, and the folder with nothing else in it
        loaded = towers(given).state_dict()
        assert loaded.keys() == weights.keys()
        for key, tensor in weights.items():
            torch.testing.assert_close(loaded[key], tensor, atol=1e-3 if "half" in name else 0, rtol=0)


def test_the_bias_of_siglips_loss_is_not_required(weights: Tensors, tmp_path: Path) -> None:
    save_file(weights | {"logit_bias": torch.tensor(-10.0)}, tmp_path / "with.safetensors")
    save_file(weights, tmp_path / "without.safetensors")
    for name in ("with.safetensors", "without.safetensors"):
        assert "logit_bias" not in towers(tmp_path / name, architecture(init_logit_bias=-10)).state_dict()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda w: w.pop("visual.proj"), r"missing: visual\.proj"),
        (lambda w: w.update(extra=torch.ones(1)), "left over: extra"),
        (lambda w: w.update({"logit_scale": torch.ones(2)}), r"logit_scale is \(2,\) and should be \(\)"),
        (lambda w: w.update({"visual.positional_embedding": torch.ones(17, 64)}), r"is \(17, 64\).*\(5, 64\)"),
        (lambda w: w.update({"text.positional_embedding": torch.ones(77, 32)}), r"is \(77, 32\).*\(12, 32\)"),
        (lambda w: [w.pop(k) for k in list(w) if "resblocks.1" in k], r"missing: .* and \d+ more"),
    ],
)
def test_weights_that_are_not_the_architectures_are_refused_by_name(
    weights: Tensors, change: Callable[[Tensors], object], expected: str, tmp_path: Path
) -> None:
    """open_clip's own loader resizes positions of another grid or context without a word."""
    weights = dict(weights)
    change(weights)
    save_file(weights, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match=rf"other\.safetensors.*{expected}"):
        towers(tmp_path / "other.safetensors")


class Payload:
    """What a malicious pickle does when it is read."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1), "payload": Payload(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(ConfigError, match="could run code"):
        read_weights(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.pt", b""),
        ("text.pt", b"these are no weights"),
        ("plain.pt", pickle.dumps({"weight": [1, 2]})),
        ("zip.pt", b"PK\x03\x04rubbish"),
        ("short.safetensors", b"\x08"),
        ("text.safetensors", b"these are no weights at all"),
    ],
)
def test_rubbish_is_refused_with_its_name(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("content", [torch.ones(2), {}, {"epoch": 3}, {"state_dict": {"weight": 1}}])
def test_files_without_named_tensors_are_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(ConfigError, match="names with tensors"):
        read_weights(tmp_path / "odd.pt")


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(tmp_path / "script.pt"))
    with pytest.raises(ConfigError, match=r"script\.pt"):
        read_weights(tmp_path / "script.pt")


# ---------------------------------------------------------------- which file
@pytest.mark.parametrize("pretrained", ["nowhere.safetensors", "no-such-tag"])
def test_weights_that_are_not_there_are_never_replaced_by_random_ones(pretrained: str) -> None:
    with pytest.raises(ConfigError, match="neither a file or folder"):
        towers(pretrained)
    with pytest.raises(ConfigError, match="laion2b_s34b_b79k"):  # the tags that there are
        Towers(TowerConfig(architecture="ViT-B-32", pretrained="no-such-tag"))


def test_a_folder_with_several_weights_is_not_guessed(weights: Tensors, tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        save_file(weights, tmp_path / name)
    with pytest.raises(ConfigError, match=r"a\.safetensors, b\.safetensors"):
        towers(tmp_path)
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    towers(tmp_path)


def test_a_tag_that_cannot_be_fetched_says_what_to_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"Download timm/vit_base_patch32_clip_224\.openai"):
        Towers(TowerConfig(architecture="ViT-B-32-quickgelu", pretrained="openai"))


def test_a_tag_of_another_activation_is_refused() -> None:
    """open_clip only warns, and the accuracy is quietly lower."""
    with pytest.raises(ConfigError, match="use ViT-B-32-quickgelu"):
        Towers(TowerConfig(architecture="ViT-B-32", pretrained="openai"))


def test_from_scratch_a_tower_from_timm_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    vision = {"timm_model_name": "test_resnet", "timm_model_pretrained": True, "image_size": 64}
    Towers(TowerConfig(architecture=architecture(vision=vision)))
