"""The message about a refused batch: rules, examples, the file with the limits, and what to do next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import get_args

import pandas as pd

from entityclip.paths import Layout
from entityclip.schemas import QualityReport
from expectations.suites import Suite, read_suite, suite_file

RULES_SHOWN, EXAMPLES = 5, 3
_LONGEST_SHOWN = 60
_PERSONAL = {"email", "phone"}
"""Rules whose values are personal data. The message also goes to Prefect and to notifications, so it omits them."""


def explain_refusal(report: QualityReport, layout: Layout) -> str:
    """The message, in several lines; the first has the verdict.

    Values from the data are quoted and shortened, so that they cannot imitate lines of the message.

    Raises:
        ConfigError: A suite cannot be read.
    """
    lines = [f"the batch was refused: {report.refusal}; nothing was versioned, and the model in service is unchanged"]
    aside = _quarantined(report.quarantine_file)
    lines += _rules(aside, layout.expectations)
    lines += [_limits(suite, layout.expectations) for suite in get_args(Suite) if (aside["table"] == suite).any()]
    if report.quarantine_file:
        lines.append(f"All rows: {report.quarantine_file}")
    if report.validation_page:
        lines.append(f"All rules: {report.validation_page}")
    return "\n".join([*lines, *_remedies(report, aside, layout.root)])


def _quarantined(quarantine: str | None) -> pd.DataFrame:
    """The lines of the quarantine file; none where there is no file."""
    columns = ["table", "id", "entity", "rule", "value", "file", "row"]
    if quarantine is None:
        return pd.DataFrame(columns=columns, dtype="str")
    return pd.read_csv(quarantine, dtype="str", keep_default_na=False, usecols=columns)


def _rules(aside: pd.DataFrame, context_root: Path) -> list[str]:
    """Each rule with its number of rows, its reason and the first examples, the most frequent rule first."""
    lines, counts = [], aside.value_counts(["table", "rule"])
    for table, rule in counts.index[:RULES_SHOWN]:
        broken = aside[(aside["table"] == table) & (aside["rule"] == rule)]
        lines.append(f"Rule {rule}, {len(broken):,} {table}: {_reason(table, rule, context_root)}")
        lines += [f"  {_example(row)}" for row in broken.head(EXAMPLES).to_dict("records")]
    if len(counts) > RULES_SHOWN:
        lines.append(f"and {len(counts) - RULES_SHOWN} more rules")
    return lines


def _reason(suite: Suite, rule: str, context_root: Path) -> str:
    """The rule's notes in the suite."""
    written = read_suite(suite, context_root)["expectations"]
    return next((str(e.get("notes") or "") for e in written if e["meta"]["rule"] == rule), "")


def _example(row: dict[str, str]) -> str:
    file, number = _quoted(row["file"]), f"row {row['row'].removesuffix('.0')}"
    place = ", ".join(part for part, known in ((file, row["file"]), (number, row["row"])) if known)
    value = "the value is only in the quarantine file" if row["rule"] in _PERSONAL else _quoted(row["value"])
    return f"{_quoted(row['entity'])}{place and f' ({place})'}: {value}"


def _quoted(text: str) -> str:
    """As a Python literal, so that line breaks and escape codes are visible."""
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")


def _limits(suite: Suite, context_root: Path) -> str:
    share = read_suite(suite, context_root)["meta"]["max_quarantined_share"]
    return f"Limits: max_quarantined_share is {share:.0%}; edit it and the rules in {suite_file(suite, context_root)}"


def _remedies(report: QualityReport, aside: pd.DataFrame, workspace: Path) -> list[str]:
    """What to do next, by the tables that have broken rows."""
    remedies = []
    if (aside["table"] == "pairs").any():
        remedies.append("Pairs: correct these rows in the source, then run again.")
    if (aside["table"] == "explanations").any():
        command = ["entityclip", "review", "export", str(report.quarantine_file), "--workspace", str(workspace)]
        remedies.append("Explanations: correct them in the source, or accept and edit them in a review:")
        remedies.append(f"  {shlex.join([*command, '--to', 'review'])}")
    return remedies or ["Correct the cause named above, then run again."]
