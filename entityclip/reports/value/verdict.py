"""Go, Adjust or Stop, from criteria that were set before the trial."""

from __future__ import annotations

from typing import Literal

from entityclip.reports.value.criteria import Criteria
from entityclip.reports.value.figures import TracedFigure
from entityclip.reports.value.findings import Findings
from entityclip.schemas import Record

Verdict = Literal["go", "adjust", "stop"]
Outcome = Literal["reached", "open", "missed", "met", "not_met"]
"""Of a success limit: ``reached`` with the whole interval, ``open``, or ``missed`` with the whole interval.

Of a withdrawal criterion: ``met``, which ends the trial, where the whole interval is beyond its limit; ``open`` where
the interval contains the limit; ``not_met`` where the whole interval is on the right side.
"""
_WITHDRAWAL: dict[Outcome, Outcome] = {"reached": "not_met", "open": "open", "missed": "met"}


class Check(Record):
    """One limit, and where the figure stands."""

    part: Literal["success", "withdrawal"]
    limit: str
    """Name of the field, like ``min_recall_at_1``."""
    figure: str
    """Name of the figure."""
    outcome: Outcome


class CheckedCriteria(Record):
    """The verdict with every limit that it rests on."""

    verdict: Verdict
    checks: tuple[Check, ...]


def judge(findings: Findings) -> CheckedCriteria:
    """Stop where a withdrawal criterion is surely met; Go where every limit of success is surely reached."""
    checks = tuple(
        _check(part, name, findings, findings.criteria.decision.target_precision)
        for part in ("success", "withdrawal")
        for name in getattr(findings.criteria, part).named
    )
    if any(check.part == "withdrawal" and check.outcome == "met" for check in checks):
        return CheckedCriteria(verdict="stop", checks=checks)
    succeeded = all(check.outcome == "reached" for check in checks if check.part == "success")
    return CheckedCriteria(verdict="go" if succeeded else "adjust", checks=checks)


def succeeds_at(findings: Findings, target: float) -> bool:
    """Whether every limit of success is surely reached at this operating point, and no withdrawal criterion is met."""
    limits = findings.criteria
    return all(_check("success", name, findings, target).outcome == "reached" for name in limits.success.named) and all(
        _check("withdrawal", name, findings, target).outcome != "met" for name in limits.withdrawal.named
    )


def figure_of(limit: str, criteria: Criteria, target: float) -> str:
    """Name of the figure that a limit is about, at an operating point."""
    return {
        "min_recall_at_1": "recall_at_1",
        "min_recall_at_5": "recall_at_5",
        "min_precision": f"right_tags_at_{target}",
        "max_by_hand": f"by_hand_at_{target}",
        "min_net_per_month": f"net_at_{target}",
        "max_payback_months": "payback" if target == criteria.decision.target_precision else f"payback_at_{target}",
    }[limit]


def _check(part: Literal["success", "withdrawal"], name: str, findings: Findings, target: float) -> Check:
    figure = findings.figures[figure_of(name, findings.criteria, target)]
    limit = findings.figures.value(f"{part}.{name}")
    outcome = _at_least(figure, limit) if name.startswith("min_") else _at_most(figure, limit)
    return Check(
        part=part, limit=name, figure=figure.name, outcome=_WITHDRAWAL[outcome] if part == "withdrawal" else outcome
    )


def _at_least(figure: TracedFigure, limit: float) -> Outcome:
    """A figure without an interval is compared itself."""
    if figure.value is None:
        return "open"
    low, high = (figure.value if end is None else end for end in (figure.low, figure.high))
    return "reached" if low >= limit else "missed" if high < limit else "open"


def _at_most(figure: TracedFigure, limit: float) -> Outcome:
    """A payback has no upper end where the worst case never pays back, and no end at all where the best does not."""
    if figure.low is None:
        return "missed" if figure.name.startswith("payback") else "open"
    if figure.low > limit:
        return "missed"
    return "reached" if figure.high is not None and figure.high <= limit else "open"
