from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from entityclip.errors import ConfigError
from expectations.suites import COMMITTED, Verdict, copy_context, read_suite, suite_hash, validate


def rule(type_: str, *, severity: str = "critical", name: str = "mine", **kwargs: Any) -> dict[str, Any]:
    return {"type": type_, "severity": severity, "kwargs": kwargs, "meta": {"rule": name}}


@pytest.fixture
def context(tmp_path: Path) -> Path:
    copy_context(tmp_path)
    return tmp_path


def verdict(context: Path, *rules: dict[str, Any], frame: pd.DataFrame, share: float = 1.0) -> Verdict:
    """What the suite ``pairs`` says when it consists of ``rules``."""
    file = context / "gx" / "expectations" / "pairs.json"
    written = json.loads(file.read_text())
    file.write_text(json.dumps({**written, "expectations": rules, "meta": {"max_quarantined_share": share}}))
    return validate(frame, suite="pairs", context_root=context)


FRAME = pd.DataFrame({"word": ["a", "b", "c", "c"], "number": [1, 2, 3, 4]})
NOT_C = rule("expect_column_values_to_not_be_in_set", column="word", value_set=["c"])


def test_a_rule_that_is_added_to_the_json_sets_its_rows_aside(context: Path) -> None:
    found = verdict(context, NOT_C, frame=FRAME)
    assert list(found.broken.itertuples(index=False, name=None)) == [(2, "mine", "c"), (3, "mine", "c")]
    assert found.refusals == ()
    assert (found.rules[0].checked, found.rules[0].failed, found.rules[0].passed) == (4, 2, False)


def test_a_warning_sets_nothing_aside(context: Path) -> None:
    found = verdict(context, {**NOT_C, "severity": "warning"}, frame=FRAME, share=0.0)
    assert found.broken.empty
    assert found.refusals == ()
    assert not found.rules[0].passed


def test_mostly_does_not_let_a_broken_row_through(context: Path) -> None:
    found = verdict(context, {**NOT_C, "kwargs": {**NOT_C["kwargs"], "mostly": 0.1}}, frame=FRAME)
    assert found.rules[0].passed
    assert set(found.broken["position"]) == {2, 3}


def test_a_row_that_breaks_two_rules_counts_once_in_the_share(context: Path) -> None:
    both = rule("expect_column_values_to_be_between", name="low", column="number", max_value=2)
    assert verdict(context, NOT_C, both, frame=FRAME, share=0.5).refusals == ()
    (refusal,) = verdict(context, NOT_C, both, frame=FRAME, share=0.4).refusals
    assert refusal.startswith("2 of 4 pairs break critical rules; the limit is 40%")


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (rule("expect_what_nobody_knows", name="x", column="word"), "did not run"),
        (rule("expect_column_values_to_match_regex", column="word", regex="((", name="x"), "regular expression"),
        (rule("expect_column_values_to_be_null", column="absent", name="x"), "absent"),
        (
            rule("expect_column_values_to_be_between", severity="info", name="x", column="word", max_value=3),
            "same type",
        ),
        (rule("expect_column_values_to_be_between", name="x", colunm="word", max_value=3), ""),
    ],
)
def test_a_rule_that_cannot_be_checked_refuses_the_batch(context: Path, broken: dict[str, Any], error: str) -> None:
    found = verdict(context, NOT_C, broken, frame=FRAME)
    (failed,) = [r for r in found.rules if r.error]
    assert (failed.severity, failed.passed) == ("critical", False)
    assert error in (failed.error or "")
    assert len(found.refusals) == 1


def test_a_rule_about_the_whole_table_refuses_the_batch(context: Path) -> None:
    found = verdict(context, rule("expect_table_row_count_to_be_between", min_value=5), frame=FRAME)
    assert found.refusals == ("pairs: rule mine failed",)


def test_an_empty_table_is_refused_by_the_committed_suite(context: Path) -> None:
    found = validate(FRAME.iloc[:0], suite="pairs", context_root=context)
    assert any("rule rows failed" in refusal for refusal in found.refusals)


def test_rows_that_great_expectations_does_not_name_refuse_the_batch(context: Path) -> None:
    checkpoint = context / "gx" / "checkpoints" / "pairs.json"
    checkpoint.write_text(checkpoint.read_text().replace("COMPLETE", "SUMMARY"))
    found = verdict(context, NOT_C, frame=FRAME)
    assert found.refusals == ("pairs: rule mine failed",)


def test_a_context_that_great_expectations_cannot_open_refuses_the_batch(context: Path) -> None:
    (context / "gx" / "checkpoints" / "pairs.json").unlink()
    found = validate(FRAME, suite="pairs", context_root=context)
    assert [r.rule for r in found.rules] == ["great_expectations"]
    assert len(found.refusals) == 1


# ---------------------------------------------------------------- files
TWINS = '{"meta": {"max_quarantined_share": 1}, "expectations": [{"meta": {"rule": "a"}}, {"meta": {"rule": "a"}}]}'


@pytest.mark.parametrize("content", ["", "{}", TWINS, TWINS.replace("1}", "2}", 1), None])
def test_an_unusable_suite_is_named(context: Path, content: str | None) -> None:
    file = context / "gx" / "expectations" / "pairs.json"
    file.write_text(content) if content is not None else file.unlink()
    with pytest.raises(ConfigError, match=r"pairs\.json"):
        read_suite("pairs", context)


def test_every_committed_rule_has_a_name_of_its_own_a_reason_and_a_severity() -> None:
    for suite in ("pairs", "explanations"):
        rules = read_suite(suite, COMMITTED)["expectations"]
        assert len({r["meta"]["rule"] for r in rules}) == len(rules) > 10
        assert all(r["notes"] and r["severity"] in ("critical", "warning", "info") for r in rules)


def test_running_a_suite_changes_no_tracked_file(context: Path) -> None:
    def tracked() -> dict[Path, bytes]:
        files = (p for p in (context / "gx").rglob("*") if p.is_file() and "uncommitted" not in p.parts)
        return {p: p.read_bytes() for p in files}

    before = tracked()
    validate(FRAME, suite="pairs", context_root=context)
    assert tracked() == before


def test_the_hash_of_the_suites_follows_the_rules_and_not_their_layout(context: Path) -> None:
    file = context / "gx" / "expectations" / "pairs.json"
    before = suite_hash(context)
    assert before == suite_hash(COMMITTED)
    written = json.loads(file.read_text())
    file.write_text(json.dumps({**written, "id": "another"}))
    assert suite_hash(context) == before
    written["meta"]["max_quarantined_share"] = 0.5
    file.write_text(json.dumps(written))
    assert suite_hash(context) != before


def test_a_workspace_keeps_its_own_rules(context: Path) -> None:
    file = context / "gx" / "expectations" / "pairs.json"
    file.write_text("{}")
    copy_context(context)
    assert file.read_text() == "{}"
