"""What validation pictures decide, as a user types it: calibrate, re-rank, tune."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_data, tiny_model, tiny_picture
from typer.testing import CliRunner, Result

from entityclip.cli import app
from entityclip.model.checkpoint_card import read_card, verify
from entityclip.paths import CheckpointLayout
from entityclip.schemas import SLICES, OpenSetRule
from entityclip.training import read_config


def entityclip(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="entityclip")


def answer(*arguments: object) -> dict[str, Any]:
    """The JSON object in the last line."""
    result = entityclip(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture
def model(tmp_path: Path) -> tuple[str, Path, str, Path]:
    tiny_data(tmp_path / "mine")
    tiny_model(tmp_path / "model")
    return ("--checkpoint", tmp_path / "model", "--data", tmp_path / "mine")


def test_calibrate_puts_onto_the_card_what_it_says(model):
    output = answer("calibrate", *model)
    card = read_card(CheckpointLayout(model[1]))
    assert (card.thresholds, card.rerank) == (output["thresholds"], output["rerank"])
    assert {group: found.model_dump() for group, found in card.mixture.items()} == output["mixture"]
    assert card.open_set is not None
    assert card.open_set.model_dump(mode="json") == output["open_set"]
    assert set(output["mixture"]) == {*SLICES, "untrained", "unexplained"}
    assert verify(CheckpointLayout(model[1])) == card
    shown = entityclip("calibrate", *model).stdout
    assert "not proven" in shown
    assert "its gain is not significant" in shown


def test_tags_say_why_none_is_sure(model, tmp_path):
    tiny_picture("red", 0).save(tmp_path / "photo.png")
    result = entityclip("tag", tmp_path / "photo.png", *model, "--precision", 0.95)
    assert result.exit_code == 0
    assert "no threshold for precision 0.95" in result.stderr
    refused = entityclip("tag", tmp_path / "photo.png", *model, "--precision", 0.5)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "precision 0.5 was not calibrated" in refused.stderr


def test_tags_of_a_card_without_an_open_set_rule_come_with_a_warning(model, tmp_path):
    tiny_picture("red", 0).save(tmp_path / "photo.png")
    layout = CheckpointLayout(model[1])
    earlier = read_card(layout).model_copy(update={"thresholds": {"0.9": 0.0}})
    earlier.write(layout.card)
    result = entityclip("tag", tmp_path / "photo.png", *model)
    assert "earlier version, without an open-set rule: unknown things may be sure" in result.stderr
    assert "open set" not in result.stdout
    earlier.model_copy(update={"open_set": OpenSetRule()}).write(layout.card)
    result = entityclip("tag", tmp_path / "photo.png", *model)
    assert "No tag is sure: the open-set rule could not be proven for precision 0.9" in result.stderr
    assert " open set " in result.stdout


def test_reranked_tags_show_the_heads_probability(model, tmp_path):
    tiny_picture("red", 0).save(tmp_path / "photo.png")
    tags = answer("tag", tmp_path / "photo.png", *model, "-k", 4, "--rerank", 2)["tags"]
    assert [tag["match"] is None for tag in tags] == [False, False, True, True]
    assert " match " in entityclip("tag", tmp_path / "photo.png", *model, "--rerank", 2).stdout


@pytest.mark.slow
def test_evaluate_shows_gain_and_cost_of_reranking(model):
    report = answer("evaluate", *model, "--rerank", 3)["rerank"]
    assert (report["first"], report["pictures"], report["weights"][0]["gain"]) == (3, 18, 0)
    shown = entityclip("evaluate", *model, "--rerank", 3).stdout
    assert "On the card: weight 0, so that re-ranking keeps the order" in shown
    assert "ms a picture, re-ranking" in shown


def test_dry_run_of_a_search_shows_the_plan_and_keeps_nothing(model, tmp_path):
    study = tmp_path / "study"
    plan = answer("tune", "--data", model[3], "--to", study, "--preset", "tiny", "--trials", 8, "--dry-run")
    assert 0 < plan["least_minutes"] < plan["most_minutes"]
    assert not study.exists()


@pytest.mark.slow
def test_search_ends_with_settings_to_train_with(model, tmp_path):
    found = answer("tune", "--data", model[3], "--to", tmp_path / "study", "--preset", "tiny", "--trials", 1)
    assert found["best"]["number"] == 0
    assert read_config(Path(found["config"])).epochs == 2
    shown = entityclip("tune", "--data", model[3], "--to", tmp_path / "study", "--preset", "tiny", "--trials", 1).stdout
    assert f"entityclip train --config {tmp_path / 'study' / 'best.json'} --data {model[3]} --run tuned" in shown
