"""Rules that people add, as docs/quality.md shows it: one in a suite's JSON, one as a Python class; and waivers."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from small_batch import Batch

from entityclip.data import pairs
from entityclip.errors import ConfigError
from entityclip.explanations.rules import DomainRules
from entityclip.quality.review import Waiver
from entityclip.schemas import QualityReport, RuleResult
from expectations.check import GateScorers
from expectations.suites import suite_hash


def add_rule(batch: Batch, rule: dict[str, Any]) -> None:
    file = batch.suite("explanations")
    written = json.loads(file.read_text())
    written["expectations"].append(rule)
    file.write_text(json.dumps(written))


def result(report: QualityReport, name: str) -> RuleResult:
    return next(rule for rule in report.rules if rule.rule == name)


PRICE = {
    "type": "expect_column_values_to_not_match_regex",
    "severity": "critical",
    "kwargs": {"column": "text", "regex": r"[$€¥£]\s?\d|\d\s?円"},
    "meta": {"rule": "price"},
    "notes": "Prices change, and cannot be seen.",
}


@pytest.mark.slow
def test_a_rule_in_the_json_sets_its_rows_aside(batch: Batch) -> None:
    add_rule(batch, PRICE)
    batch.texts[3]["text"] += " It costs 900円."
    report = batch.gate()
    assert result(report, "price").quarantined == 1
    assert set(pd.read_csv(batch.quarantine)["rule"]) == {"price"}


BRACKETS = {
    "type": "expect_column_values_to_close_brackets",
    "severity": "critical",
    "kwargs": {"column": "text"},
    "meta": {"rule": "brackets"},
    "notes": "The text was probably cut off.",
}


def test_a_rule_that_is_a_class_sets_its_rows_aside(batch: Batch) -> None:
    add_rule(batch, BRACKETS)
    batch.texts[3]["text"] = "The lamp (with a red body has white dots on it."
    batch.texts[4]["text"] = "白い点のある赤い「椅子（chair）です。"
    report = batch.gate()
    assert result(report, "brackets").quarantined == 2


RED = """
from great_expectations.expectations import ExpectColumnValuesToMatchRegex

class ExpectTextToSayRed(ExpectColumnValuesToMatchRegex):
    column: str = "text"
    regex: str = "red"
"""


def test_a_workspaces_own_class_is_found_and_counts_as_a_rule(batch: Batch) -> None:
    add_rule(batch, {"type": "expect_text_to_say_red", "severity": "critical", "kwargs": {}, "meta": {"rule": "red"}})
    before = suite_hash(batch.suites)
    (batch.suites / "gx" / "plugins" / "red.py").write_text(RED)
    assert suite_hash(batch.suites) != before
    batch.texts[7]["text"] = batch.texts[7]["text"].replace("red", "blue")
    report = batch.gate()
    assert result(report, "red").quarantined == 1


def test_a_rule_whose_class_is_not_there_refuses_the_batch(batch: Batch) -> None:
    add_rule(batch, {**PRICE, "type": "expect_what_no_file_defines"})
    report = batch.gate()
    assert report.refused
    assert "did not run" in (result(report, "price").error or "")


def test_a_file_of_rules_that_cannot_be_run_refuses_the_batch(batch: Batch) -> None:
    batch.suite("explanations")
    (batch.suites / "gx" / "plugins" / "broken.py").write_text("import nothing_that_exists")
    report = batch.gate()
    assert report.refused
    assert "nothing_that_exists" in (report.refusal or "")


@pytest.mark.slow
def test_a_rule_of_the_workspaces_domain_names_the_claim(batch: Batch) -> None:
    batch.texts[2]["text"] += " It is the best of all."
    batch.write()
    report = batch.judge(scorers=GateScorers(domain=DomainRules(forbidden=("the best",))))
    assert result(report, "domain").quarantined == 1
    assert list(pd.read_csv(batch.quarantine)["value"]) == ["forbidden: the best"]
    assert batch.judge().quarantined_explanations == 0


# ---------------------------------------------------------------- what a person accepted
@pytest.mark.slow
def test_an_accepted_text_passes_the_rule_that_was_waived_and_no_other(batch: Batch) -> None:
    batch.texts[5]["text"] += " Ask sales@shop.example."
    batch.write()
    key = batch.texts[5]["explanation_id"]
    assert batch.judge().quarantined_explanations == 1
    waived = batch.judge(waived={key: Waiver(frozenset({"email"}), "Ana", "2026-11-29")})
    assert (waived.quarantined_explanations, waived.accepted_explanations) == (0, 40)
    assert (result(waived, "email").failed, result(waived, "email").waived) == (1, 1)
    assert not waived.refused
    other = batch.judge(waived={key: Waiver(frozenset({"phone"}), "Ana", "2026-11-29")})
    assert other.quarantined_explanations == 1


@pytest.mark.slow
def test_an_accepted_picture_returns_with_who_accepted_it(batch: Batch) -> None:
    one, other = batch.pictures[0], batch.pictures[1]
    other |= {name: one[name] for name in ("image", "image_sha256")} | {"person": "Ben", "reason": "feedback: right"}
    other["pair_id"] = pairs.pair_id(one["image_sha256"], other["caption"], other["entity"])
    batch.write()
    assert batch.judge().quarantined_pairs == 2
    waiver = Waiver(frozenset({"picture_of_two_entities", "picture_small"}), "Ana", "2026-11-29")
    idle = {batch.pictures[2]["pair_id"]: waiver}  # breaks no rule any more
    rejected = {batch.pictures[3]["pair_id"]: Waiver(frozenset(), "Ana", "2026-11-29", rejected=True)}
    report = batch.judge(waived={other["pair_id"]: waiver} | idle | rejected)
    assert (report.quarantined_pairs, report.refused) == (2, False)
    assert report.accepted_pairs == len(batch.pictures) - 2
    lines = pd.read_csv(batch.quarantine).set_index("id")["rule"]
    assert dict(lines) == {one["pair_id"]: "picture_of_two_entities", batch.pictures[3]["pair_id"]: "rejected"}
    rows = pairs.read_frame(batch.accepted.pairs).set_index("pair_id")
    assert not {one["pair_id"], batch.pictures[3]["pair_id"]} & set(rows.index)
    reason = "feedback: right; review: accepted in spite of picture_of_two_entities"
    assert tuple(rows.loc[other["pair_id"], ["person", "day", "reason"]]) == ("Ben, Ana", "2026-11-29", reason)
    assert rows.drop(other["pair_id"])["person"].isna().all()


# ---------------------------------------------------------------- what rules need
def test_rules_that_need_a_champion_are_skipped_aloud_and_not_passed(batch: Batch) -> None:
    report = batch.gate()
    skipped = {rule.rule for rule in report.rules if rule.skipped}
    assert {"low_text_quality", "fits_a_sibling_better"} <= skipped
    assert not any(rule.passed or rule.error for rule in report.rules if rule.skipped)
    assert "no model is in service" in (result(report, "low_text_quality").skipped or "")
    assert not report.refused


def test_an_unknown_need_is_refused(batch: Batch) -> None:
    add_rule(batch, {**PRICE, "meta": {"rule": "price", "needs": "champoin"}})
    with pytest.raises(ConfigError, match=r"explanations\.json: meta\.needs is 'champoin'; expected champion"):
        batch.gate()
