from __future__ import annotations

import pytest
from pydantic import ValidationError

from entityclip.errors import ConfigError
from entityclip.explanations import writer_config
from entityclip.explanations.rules import DomainRules, broken_rules

SOUND = "A red kettle with white dots stands on a wooden table."


@pytest.mark.parametrize(
    ("rules", "text", "broken"),
    [
        ({}, SOUND, {}),
        ({"max_chars": 30}, SOUND, {"max_chars": "54 characters, at most 30"}),
        ({"min_chars": 60}, SOUND, {"min_chars": "54 characters, at least 60"}),
        ({"forbidden": ["the best", "RED"]}, SOUND, {"forbidden": "RED"}),
        ({"forbidden": ["ed", "ket"]}, SOUND, {}),
        ({"forbidden": ["日本一"]}, "この赤いやかんは日本一の品質です。白い水玉模様。", {"forbidden": "日本一"}),
        ({"forbidden": ["ＫＸ－２０４Ｂ"]}, "The red pump is a kx-204b, with dots.", {"forbidden": "ＫＸ－２０４Ｂ"}),
        ({"glossary": {"kettle": "teapot"}}, SOUND, {"glossary": "kettle (write teapot)"}),
        ({"glossary": {"bottle": "PET bottle"}}, "A clear PET bottle with a blue cap.", {}),
        ({"glossary": {"ボトル": "ペットボトル"}}, "透明なペットボトルで、青いキャップ付きのものです。", {}),
        ({"required": {"colour": ["red", "blue"], "shape": ["round"]}}, SOUND, {"required": "shape"}),
        ({"required": {"colour": []}}, "It stands on a wooden table.", {}),
        ({"required": {"色": ["赤", "青"]}}, "白い水玉模様の赤いやかんで、ふたは黒です。", {}),
    ],
)
def test_a_rule_names_the_very_words_that_break_it(rules: dict[str, object], text: str, broken: dict[str, str]) -> None:
    assert broken_rules(text, DomainRules.model_validate(rules)) == broken


@pytest.mark.parametrize("rules", [{"min_chars": 9, "max_chars": 8}, {"forbidden": [" "]}, {"forbiden": ["x"]}])
def test_impossible_rules_are_refused(rules: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DomainRules.model_validate(rules)


def test_an_error_names_file_and_setting() -> None:
    settings = {"writer": "openai", "model": "m", "base_url": "http://127.0.0.1/v1", "rules": {"forbiden": ["x"]}}
    with pytest.raises(ConfigError, match=r"shop\.yaml: openai\.rules\.forbiden"):
        writer_config(settings, origin="shop.yaml")


def test_settings_of_another_writer_are_refused() -> None:
    with pytest.raises(ConfigError, match="budget_tokens"):
        writer_config({"writer": "source", "budget_tokens": 5}, origin="shop.yaml")
