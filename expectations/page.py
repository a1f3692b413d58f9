"""The validation page of a batch: the content of Data Docs, with user text escaped and no network access."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from entityclip.paths import DataLayout
from entityclip.quality.claims.claim_table import READER_COLUMNS, claim_counts
from entityclip.reports.pages import write_page
from entityclip.schemas import ReaderAgreement, RuleResult
from expectations.suites import POSITION, Suite, Verdict, read_suite, suite_file

if TYPE_CHECKING:
    from entityclip.quality.claims.claim_examples import JudgedText

_LONGEST_SHOWN = 300
_ID = {"pairs": "pair_id", "explanations": "explanation_id"}
_SEVERITIES = ("critical", "warning", "info")


class SuiteResult(NamedTuple):
    """A validated table."""

    suite: Suite
    table: pd.DataFrame
    verdict: Verdict
    claims: pd.DataFrame | None = None
    """See ``claim_table.COLUMNS``; None where claims were not checked."""


class BrokenRow(NamedTuple):
    """A row that breaks a rule."""

    row: str
    caption: str
    value: str


class RuleLine(NamedTuple):
    """A rule on the page."""

    result: RuleResult
    limit: str
    notes: str
    examples: list[BrokenRow]


def write_validation_page(
    found: tuple[SuiteResult, ...],
    *,
    staging: DataLayout,
    context_root: Path,
    agreement: tuple[ReaderAgreement, ...] = (),
) -> Path:
    """Write the page of a batch, replacing that of the previous one; returns its path.

    Args:
        found: The tables.
        staging: The pictures that are shown beside claims.
        context_root: Project root of the Great Expectations context.
        agreement: Of the readers of claims.

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
                "quarantined": int(one.verdict.broken[POSITION].nunique()),
                "refusals": one.verdict.refusals,
                "lines": _lines(one, context_root),
                "file": str(suite_file(one.suite, context_root)),
                "share": read_suite(one.suite, context_root)["meta"]["max_quarantined_share"],
            }
            for one in found
        ],
        agreement=agreement,
        second_reader=any(one.claims is not None and set(READER_COLUMNS) <= set(one.claims) for one in found),
        claims=[count for one in found for count in claim_counts(one.claims)],
        judged=[text for one in found if one.claims is not None for text in _judged(one, one.claims, staging)],
    )
    return path


def _judged(found: SuiteResult, claims: pd.DataFrame, staging: DataLayout) -> list[JudgedText]:
    from entityclip.quality.claims.claim_examples import judged_texts  # loads torch, as only checked claims do

    return judged_texts(claims, found.table, staging)


def _lines(found: SuiteResult, context_root: Path) -> list[RuleLine]:
    """The rules, failed and severe ones first."""
    written = {e["meta"]["rule"]: e for e in read_suite(found.suite, context_root)["expectations"]}
    examples = dict(list(found.verdict.examples.groupby("rule", sort=False)))
    lines = [
        RuleLine(
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
    """The arguments of a rule, apart from its column."""
    limits = {name: value for name, value in arguments.items() if name != "column"}
    return _short(", ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in limits.items()))


def _examples(rows: pd.DataFrame, found: SuiteResult) -> list[BrokenRow]:
    listed = rows.join(found.table, on=POSITION).reindex(columns=[_ID[found.suite], "caption", "value"]).fillna("")
    return [BrokenRow(*(_short(str(cell)) for cell in row)) for row in listed.itertuples(index=False)]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
