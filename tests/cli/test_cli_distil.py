"""``entityclip distil``, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import tiny_data, tiny_model, tiny_picture
from typer.testing import CliRunner, Result

from entityclip.cli import app
from entityclip.data.preprocessing import Preprocessing


def distil(teacher: Path, *options: object) -> Result:
    arguments = ["distil", "--teacher", teacher, "--minutes", 0.01, *options]
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="entityclip")


@pytest.mark.slow
def test_a_student_is_calibrated_and_compared_and_no_checkpoint_is_replaced(tmp_path: Path) -> None:
    data, further = tiny_data(tmp_path / "data"), tmp_path / "写真"
    tiny_model(tmp_path / "teacher", preprocessing=Preprocessing(size=64))
    further.mkdir()
    tiny_picture("red", 7).save(further / "赤.png")
    options = ("--data", data.root, "--unlabelled", further, "--to", tmp_path / "student", "--json")
    result = distil(tmp_path / "teacher", *options)
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
    assert answer["pixels"] == {"teacher": 64, "student": 32}
    assert answer["recall"].keys() == answer["ms"].keys() == {"teacher", "student"}
    assert not answer["ships"]  # six queries show nothing
    assert "not within the budget" in result.stdout
    card = json.loads((tmp_path / "student" / "card.json").read_text())
    assert card["mixture"]
    assert card["open_set"] is not None
    again = distil(tmp_path / "teacher", *options)
    assert again.exit_code == 1
    assert "exists; expected a new folder" in again.stderr
    assert distil(tmp_path / "student", "--data", data.root, "--to", tmp_path / "small").exit_code == 1  # 16 pixels
    assert not (tmp_path / "small").exists()


def test_a_split_without_pictures_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    data = tiny_data(tmp_path / "data")
    for shard in data.pairs.glob("test-*"):
        shard.unlink()
    refused = distil(tmp_path / "missing", "--data", data.root, "--to", tmp_path / "student")
    assert refused.exit_code == 1
    assert "the split 'test' holds no picture to compare on; name another with --split" in refused.stderr
