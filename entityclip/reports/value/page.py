"""The value report as a page, as PDF and as JSON."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pydantic import Field

from entityclip.errors import DataError
from entityclip.paths import ValueReportLayout
from entityclip.reports.pages import as_markup, write_page
from entityclip.reports.value.criteria import TARGETS, Criteria
from entityclip.reports.value.figures import TracedFigure, untraced
from entityclip.reports.value.findings import Findings, find
from entityclip.reports.value.plots import tornado, tradeoff
from entityclip.reports.value.readings import CRITERIA, ReleaseEvidence
from entityclip.reports.value.verdict import CheckedCriteria, Verdict, figure_of, judge
from entityclip.reports.value.words import Language, say
from entityclip.schemas import Record

ASSUMED = tuple(
    f"{section}.{field}"
    for section in ("today", "workload", "money")
    for field in Criteria.model_fields[section].annotation.model_fields  # type: ignore[union-attr]
    if field != "currency"
)
"""Every assumption, in the order of the file."""
SPENT = (
    "tokens_in",
    "tokens_out",
    "writer_money",
    "review_minutes",
    "run_seconds",
    "gain",
    "gain_low",
    "latency",
    "size",
    "accepted_pairs",
    "quarantined_pairs",
    "accepted_explanations",
    "quarantined_explanations",
)
"""What is on record about cost and data."""


class ReportedRelease(Record):
    """What the report is about."""

    version: str
    release_commit: str
    criteria_commit: str
    data_commit: str
    day: datetime.date = Field(description="Of the report.")


class ValueReport(Record):
    """The report for programs, beside the page."""

    verdict: Verdict
    judgement: CheckedCriteria
    subject: ReportedRelease
    untraced: tuple[str, ...] = Field(description="Figures that do not stand where they say; expected: none.")
    figures: tuple[TracedFigure, ...]


def write_value_report(
    layout: ValueReportLayout,
    criteria: Criteria,
    evidence: ReleaseEvidence,
    subject: ReportedRelease,
    *,
    language: Language,
) -> ValueReport:
    """Write page and figures; returns the figures. ``entityclip.reports.pdf`` prints the page.

    Raises:
        DataError: The release lacks a figure that the report needs.
    """
    findings = find(criteria, evidence)
    judgement = judge(findings)
    files = {source.name: source.content for source in evidence.files}
    missing = tuple(untraced(findings.figures.all, files))
    report = ValueReport(
        verdict=judgement.verdict,
        judgement=judgement,
        subject=subject,
        untraced=missing,
        figures=findings.figures.all,
    )
    report.write(layout.figures)
    show = PageNumbers(findings, language)
    write_page(
        layout.page(language),
        "value.html.j2",
        language=language,
        say=partial(say, language),
        show=show,
        findings=findings,
        criteria=criteria,
        report=report,
        subject=subject,
        rows=criteria_rows(findings, judgement, show),
        comparison=comparison(findings),
        assumptions=ASSUMED,
        spent=SPENT,
        overdue=subject.day > criteria.decision.until,
        not_known=not_known(findings, show),
        tradeoff=as_markup(tradeoff(findings, language)),
        tornado=as_markup(tornado(findings, language)),
        figures_file=layout.figures.name,
        criteria_file=CRITERIA,
        target=f"{criteria.decision.target_precision:g}",
    )
    return report


def verified(path: Path, files: Mapping[str, Any]) -> ValueReport:
    """The report at ``path``, every figure of which stands where it says.

    Args:
        path: What ``write_value_report`` wrote.
        files: Name -> content of each file, read again.

    Raises:
        DataError: Some do not, since a file changed meanwhile.
    """
    report = ValueReport.model_validate_json(path.read_text(encoding="utf-8"))
    if lost := untraced(report.figures, files):
        raise DataError(
            f"{path}: {len(lost)} figures do not stand where they say, the first is {lost[0]}; does a run work in this "
            "workspace? Write the report again when it has ended"
        )
    return report


# ---------------------------------------------------------------- numbers as people read them
@dataclass(frozen=True)
class PageNumbers:
    """Numbers of the page in its language; each is a link to the line that says where it comes from."""

    findings: Findings
    language: Language

    def __call__(self, name: str) -> Markup:
        """The value of a figure."""
        figure = self.findings.figures[name]
        text = say(self.language, "never") if figure.value is None and figure.name == "payback" else None
        if text is None and figure.value is None:
            text = Markup("–")
        return Markup('<a class="figure" href="#figure-{}">{}</a>').format(name, text or self.number(figure))

    def interval(self, name: str) -> Markup:
        """``[low, high]`` of a figure, without its unit; '' where it has none."""
        figure = self.findings.figures[name]
        if figure.low is None and figure.high is None:
            return Markup("")
        low, high = (self._plain(end, figure.unit) for end in (figure.low, figure.high))
        return Markup("<small>[{}, {}]</small>").format(low, high)

    def has(self, name: str) -> bool:
        """Whether the figure is there."""
        return name in self.findings.figures

    def number(self, figure: TracedFigure) -> Markup:
        """The value with its unit."""
        text = self._assumed(figure.value) if figure.name in self._given else self._plain(figure.value, figure.unit)
        if figure.unit == "percent":
            return say(self.language, "percent", value=text)
        return Markup("{} {}").format(text, self._unit(figure.unit)) if self._unit(figure.unit) else Markup(text)

    def _unit(self, unit: str) -> str:
        if unit == "money":
            return self.findings.criteria.money.currency
        words = {"hours": "unit_hours", "minutes": "unit_minutes", "months": "unit_months"}
        if unit in words:
            return str(say(self.language, words[unit]))
        return {"seconds": "s", "ms": "ms", "MB": "MB"}.get(unit, "")

    def _plain(self, value: float | None, unit: str) -> str:
        if value is None:
            return "∞" if unit == "months" else "–"
        if unit == "money":
            value = float(f"{value:.3g}")  # more digits would promise more than the assumptions hold
        short = abs(value) >= 100 or (float(value).is_integer() and unit not in ("percent", "points", "months"))
        return (f"{value:,.0f}" if short else f"{value:,.1f}").replace("-", "−")

    def _assumed(self, value: float | None) -> str:
        """An assumption, as it stands in the file."""
        return f"{value:,.4f}".rstrip("0").rstrip(".").replace("-", "−")

    @property
    def _given(self) -> set[str]:
        return {figure.name for figure in self.findings.figures.all if figure.file == CRITERIA}


# ---------------------------------------------------------------- parts of the page
@dataclass(frozen=True)
class CriterionRow:
    """One criterion with both limits."""

    limit: str
    figure: str
    success: Markup | None
    withdrawal: Markup | None
    outcome: str
    """Word of the outcome."""
    kind: str
    """Colour: good, warn, bad or plain."""


def criteria_rows(findings: Findings, judgement: CheckedCriteria, show: PageNumbers) -> list[CriterionRow]:
    """A row per criterion that success or withdrawal names."""
    criteria, target = findings.criteria, findings.criteria.decision.target_precision
    found = {(check.part, check.limit): check.outcome for check in judgement.checks}
    rows = []
    for limit in type(criteria.success).model_fields:
        success, withdrawal = found.get(("success", limit)), found.get(("withdrawal", limit))
        if success is None and withdrawal is None:
            continue
        least = limit.startswith("min_")
        go, stop = ("at_least", "below") if least else ("at_most", "above")
        stopped = withdrawal == "missed"
        outcome = "withdrawn" if stopped else success or "open"
        kind = "bad" if stopped else {"reached": "good", "missed": "bad", "open": "warn"}[success or "open"]
        rows.append(
            CriterionRow(
                limit=limit,
                figure=figure_of(limit, target),
                success=say(show.language, go, limit=show(f"success.{limit}")) if success else None,
                withdrawal=say(show.language, stop, limit=show(f"withdrawal.{limit}")) if withdrawal else None,
                outcome=outcome if success or stopped else "not_withdrawn",
                kind=kind if success or stopped else "plain",
            )
        )
    return rows


def comparison(findings: Findings) -> list[tuple[str, str, str]]:
    """Text, figure of today or a word in its place, and figure with the release."""
    target = findings.criteria.decision.target_precision
    return [
        ("first", "today.right_at_first_try", "recall_at_1"),
        ("five", "today.right_in_the_end", "recall_at_5"),
        ("automatic_right", "today_none", f"right_tags_at_{target}"),
        ("needs_person", "today_all", f"by_hand_at_{target}"),
        ("hours", "today.hours", f"hours_at_{target}"),
        ("mismatches", "today.mismatches", f"mismatches_at_{target}"),
        ("cost", "today.cost", f"cost_at_{target}"),
        ("running", "today_none", "running_cost"),
    ]


def not_known(findings: Findings, show: PageNumbers) -> Sequence[Markup]:
    """Sentences about what the figures cannot say, the most important first."""
    say_it = partial(say, show.language)
    sentences = [
        say_it("unknown_people"),
        say_it("unknown_pictures", pictures=show("pictures")),
        say_it("unknown_share", share=show("workload.unknown_share")),
    ]
    missing = [f"{target:g}" for target in TARGETS if target not in findings.targets]
    if missing:
        sentences.append(say_it("unknown_points", targets=", ".join(missing)))
    if not show.has("run_seconds"):
        sentences.append(say_it("unknown_run"))
    if not show.has("latency"):
        sentences.append(say_it("unknown_latency"))
    return [*sentences, say_it("unknown_longer")]
