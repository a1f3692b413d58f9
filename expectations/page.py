"""The page of what every rule found in a batch: what Data Docs would show, with user text escaped and no network."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from entityclip.reports.pages import write_page
from entityclip.schemas import RuleResult
from expectations.suites import POSITION, Suite, Verdict, read_suite, suite_file

_LONGEST_SHOWN = 300
_ID = {"pairs": "pair_id", "explanations": "explanation_id"}
_SEVERITIES = ("critical", "warning", "info")


class Found(NamedTuple):
    """What a suite found in a table."""

    suite: Suite
    table: pd.DataFrame
    verdict: Verdict


class Example(NamedTuple):
    """A row that breaks a rule."""

    row: str
    caption: str
    value: str


class Line(NamedTuple):
    """A rule on the page."""

    result: RuleResult
    limit: str
    notes: str
    examples: list[Example]


def write_validation_page(found: tuple[Found, ...], *, context_root: Path) -> Path:
    """Write the page of a batch; returns its path. That of the batch before is replaced.

    Raises:
        ConfigError: A suite cannot be read.
    """
    path = context_root / "gx" / "uncommitted" / "validation.html"
    write_page(
        path,
        "validation.html.j2",
        at=datetime.now(UTC),
        tables=[
            {
                "suite": one.suite,
                "rows": len(one.table),
                "set_aside": int(one.verdict.broken[POSITION].nunique()),
                "refusals": one.verdict.refusals,
                "lines": _lines(one, context_root),
                "file": str(suite_file(one.suite, context_root)),
                "share": read_suite(one.suite, context_root)["meta"]["max_quarantined_share"],
            }
            for one in found
        ],
    )
    return path


def _lines(found: Found, context_root: Path) -> list[Line]:
    """The rules, those first that a person should look at."""
    written = {e["meta"]["rule"]: e for e in read_suite(found.suite, context_root)["expectations"]}
    examples = dict(list(found.verdict.examples.groupby("rule", sort=False)))
    lines = [
        Line(
            result=result,
            limit=_limit(written.get(result.rule, {}).get("kwargs", {})),
            notes=str(written.get(result.rule, {}).get("notes") or ""),
            examples=_examples(examples[result.rule], found) if result.rule in examples else [],
        )
        for result in found.verdict.rules
    ]
    return sorted(lines, key=lambda line: _urgency(line.result))


def _urgency(rule: RuleResult) -> tuple[bool, bool, int, int]:
    return (rule.passed, bool(rule.skipped), _SEVERITIES.index(rule.severity), -rule.failed)


def _limit(arguments: dict[str, Any]) -> str:
    """What a rule asks of its column, as the suite says it."""
    asked = {name: value for name, value in arguments.items() if name != "column"}
    return _short(", ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in asked.items()))


def _examples(rows: pd.DataFrame, found: Found) -> list[Example]:
    listed = rows.join(found.table, on=POSITION).reindex(columns=[_ID[found.suite], "caption", "value"]).fillna("")
    return [Example(*(_short(str(cell)) for cell in row)) for row in listed.itertuples(index=False)]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
