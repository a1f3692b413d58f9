"""Criteria files: every missing assumption is named with its meaning, and none is filled in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from entityclip.errors import ConfigError
from entityclip.reports.value.criteria import Criteria, read_criteria

DOCS = Path(__file__).parents[3] / "docs"
WHERE = Path("criteria.yaml")
PAGES = ("value-report.md", "value-report.ja.md")


def example(page: str = PAGES[0]) -> dict[str, Any]:
    (block,) = blocks(page, "yaml")
    found: dict[str, Any] = yaml.safe_load(block)
    return found


def blocks(page: str, fence: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{fence}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def read(content: dict[str, Any]) -> Criteria:
    return read_criteria(yaml.safe_dump(content, allow_unicode=True), where=WHERE)


def keys(content: Any) -> Any:
    return {name: keys(value) for name, value in content.items()} if isinstance(content, dict) else None


@pytest.mark.parametrize("page", PAGES)
def test_the_example_of_the_documentation_is_complete(page: str) -> None:
    assert read(example(page)).success.named
    (stages,) = blocks(page, "yml")
    assert len(read(example(page) | yaml.safe_load(stages)).stages) == 2


def test_the_examples_of_both_languages_have_the_same_keys() -> None:
    assert keys(example(PAGES[0])) == keys(example(PAGES[1]))


def assumptions() -> list[tuple[str, str]]:
    return [(section, field) for section in ("today", "workload", "money") for field in example()[section]]


@pytest.mark.parametrize(("section", "field"), assumptions())
def test_a_missing_assumption_is_named_with_its_meaning(section: str, field: str) -> None:
    content = example()
    del content[section][field]
    meaning = re.escape(str(Criteria.model_fields[section].annotation.model_fields[field].description))  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=rf"criteria.yaml: {section}.{field} is missing: {meaning}"):
        read(content)


def test_an_empty_file_names_every_section() -> None:
    with pytest.raises(ConfigError) as refused:
        read_criteria("", where=WHERE)
    required = [section for section, field in Criteria.model_fields.items() if field.is_required()]
    assert all(f"{section} is missing" in str(refused.value) for section in required)


@pytest.mark.parametrize(
    ("section", "field", "value", "reason"),
    [
        ("today", "minutes_per_picture", "5", "valid number"),
        ("today", "minutes_per_picture", -1, "greater than or equal to 0"),
        ("today", "minutes_per_picture", float("nan"), "finite"),
        ("today", "minutes_per_picture", True, "valid number"),
        ("today", "wrong_in_the_end", 101, "less than or equal to 100"),
        ("today", "wrong_in_the_end", 20, "more than 100 percent together"),
        ("today", "right_at_first_try", 95, "more than right_in_the_end"),
        ("decision", "target_precision", 0.85, "expected one of"),
        ("decision", "until", "next week", "until"),
        ("money", "currency", "x" * 9, "at most 8"),
        ("money", "cost_per_our", 3, "cost_per_our"),
        ("withdrawal", "min_recall_at_1", 99, "Go and Stop at once"),
    ],
)
def test_an_impossible_value_is_refused(section: str, field: str, value: Any, reason: str) -> None:
    content = example()
    content[section][field] = value
    with pytest.raises(ConfigError, match=rf"(?s)criteria.yaml: .*{reason}"):
        read(content)


def test_criteria_without_a_limit_are_refused() -> None:
    with pytest.raises(ConfigError, match="success: names no limit; expected at least one of min_recall_at_1"):
        read(example() | {"success": {}})


def test_a_file_that_is_not_yaml_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        read_criteria("today: [", where=WHERE)
    with pytest.raises(ConfigError, match=r"criteria.yaml"):
        read_criteria("- a list", where=WHERE)
