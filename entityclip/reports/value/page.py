"""The value report as a page, as PDF and as JSON."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from entityclip.errors import DataError
from entityclip.paths import ValueReportLayout
from entityclip.reports.pages import as_markup, write_page
from entityclip.reports.value.criteria import Criteria
from entityclip.reports.value.figures import TracedFigure, untraced
from entityclip.reports.value.findings import find
from entityclip.reports.value.numbers import PageNumbers
from entityclip.reports.value.plots import tornado, tradeoff
from entityclip.reports.value.readings import CRITERIA, RELEASE_COST, ReleaseEvidence
from entityclip.reports.value.sections import (
    ASSUMED,
    SPENT,
    about,
    comparison,
    criteria_rows,
    longest_search,
    net_range,
    not_known,
    reasons,
    steps,
    tested_on,
    why,
)
from entityclip.reports.value.verdict import CheckedCriteria, Verdict, judge
from entityclip.reports.value.words import say
from entityclip.reports.words import Language
from entityclip.schemas import Record


class ReportedRelease(Record):
    """What the report is about."""

    version: str
    workspace: str = Field(default="", description="Name of the workspace's folder.")
    release_commit: str
    criteria_commit: str
    criteria_author: str = Field(default="", description="Author and day of the criteria's last change, as in Git.")
    data_commit: str
    day: datetime.date = Field(description="Of the report.")
    source: str = Field(default="", description="Source of the data, like catalog; '': not on record.")
    preset: str = Field(default="", description="Training settings that it started from; '': not on record.")


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
        sources=evidence.files,
        subject=subject,
        rows=criteria_rows(findings, judgement, show),
        reasons=reasons(judgement, show),
        steps=steps(findings, judgement, show),
        why=why(judgement),
        about=about(subject.workspace, subject.source, subject.preset, show),
        longest_search=longest_search(show),
        net_range=net_range(findings, show),
        tested=tested_on(subject.source, subject.preset, show),
        comparison=comparison(findings),
        assumptions=ASSUMED,
        spent=SPENT,
        release_cost=tuple(RELEASE_COST),
        unmoved=[row.assumption for row in findings.sensitivities if not row.matters],
        overdue=subject.day > criteria.decision.until,
        not_known=not_known(findings, show),
        tradeoff=as_markup(tradeoff(findings, language)),
        tornado=as_markup(tornado(findings, language)),
        figures_file=layout.figures.name,
        criteria_file=CRITERIA,
        target=criteria.decision.target_precision,
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
