"""Architectures by name, file, folder or content."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
from small_architectures import architecture

from entityclip.architectures import ARCHITECTURES, document, portable, settings
from entityclip.errors import ConfigError


def test_names_are_ours_or_open_clips() -> None:
    assert settings("ViT-B-32") == open_clip.get_model_config("ViT-B-32")
    ours = sorted(path.stem for path in ARCHITECTURES.glob("*.json"))
    assert "entityclip-small" in ours
    for name in ours:
        assert settings(name)["text_cfg"]["vocab_size"] == 49408


def test_what_is_returned_is_the_callers_own() -> None:
    for given in ("ViT-B-32", architecture()):
        settings(given)["vision_cfg"]["layers"] = 99
        assert settings(given)["vision_cfg"]["layers"] != 99


def test_a_file_becomes_its_content_where_it_has_to_travel(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(architecture()))
    carried = portable(str(path))
    assert document(carried) == document(str(path))
    path.unlink()
    assert settings(carried) == architecture()
    assert portable("ViT-B-32") == "ViT-B-32"
    assert portable(carried) == carried


def test_what_siglip_pads_with_is_known() -> None:
    assert settings("ViT-B-16-SigLIP")["text_cfg"]["pad_id"] == 1
    assert "pad_id" not in settings("ViT-B-16-SigLIP2")["text_cfg"]  # 0, open_clip's own default


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "expected JSON"),
        ("[]", "JSON object"),
        ('{"embed_dim": 8}', "vision_cfg, text_cfg"),
        ('{"model_cfg": 3}', "embed_dim, vision_cfg, text_cfg"),
        ('{"embed_dim": "8", "vision_cfg": {}, "text_cfg": {}}', "wrong: embed_dim"),
        (b"\xff\xfe\x00", "expected JSON"),
    ],
)
def test_a_file_that_is_no_architecture_is_refused_with_its_name(
    tmp_path: Path, content: str | bytes, expected: str
) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=rf"odd\.json.*{expected}"):
        settings(str(path))


@pytest.mark.parametrize("name", ["no-such-thing", "", "../architectures/entityclip-tiny", "hf-hub:a/b", "a\0b"])
def test_an_unknown_name_is_refused_without_a_request_to_the_hub(name: str) -> None:
    with pytest.raises(ConfigError, match="neither a name"):
        settings(name)
