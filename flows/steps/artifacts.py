"""Artifacts of a run on Prefect's page: tables and texts."""

from __future__ import annotations

from pathlib import Path

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from entityclip.reports.run_report import slice_table
from entityclip.schemas import EvalReport, PromotionDecision, QualityReport, ServingCheck
from entityclip.storage import read_table

ROWS_SHOWN = 20


def show_quality(report: QualityReport) -> None:
    """Show every rule with its counts, and the first quarantined rows."""
    rules = sorted(report.rules, key=lambda r: (r.passed, -r.quarantined, -r.failed))
    rows = [
        {
            "suite": r.suite,
            "rule": r.rule,
            "severity": r.severity,
            "checked": r.checked,
            "failed": r.failed,
            "quarantined": r.quarantined,
            "verdict": "passed" if r.passed else r.error or (f"skipped: {r.skipped}" if r.skipped else "failed"),
        }
        for r in rules
    ]
    accepted = f"{report.accepted_pairs} pairs and {report.accepted_explanations} explanations accepted"
    aside = f"{report.quarantined_pairs} and {report.quarantined_explanations} quarantined"
    verdict = f"Refused: {report.refusal}" if report.refused else f"{accepted}, {aside}"
    create_table_artifact(key="quality", table=rows, description=f"{verdict}. Every rule: {report.validation_page}")
    if report.claims:
        create_table_artifact(
            key="claims",
            table=[count.model_dump() for count in report.claims],
            description="Claims of the texts, compared with pictures; what is not checkable is not passed as true",
        )
    if report.agreement:
        create_table_artifact(
            key="reader-agreement",
            table=[one.model_dump() for one in report.agreement],
            description="Agreement of the readers of claims with each other and with people (Cohen's kappa)",
        )
    if report.quarantine_file:
        lines = read_table(Path(report.quarantine_file), most=ROWS_SHOWN)
        create_table_artifact(
            key="quarantine",
            table=lines[["table", "entity", "rule", "value", "text"]].to_dict("list"),  # type: ignore[arg-type]
            description=f"The first rows of {report.quarantine_file}",
        )


def show_evaluation(report: EvalReport) -> None:
    """Show recall by slice."""
    create_markdown_artifact(key="recall-by-slice", markdown=f"```\n{slice_table(report)}\n```")


def show_decision(decision: PromotionDecision) -> None:
    """Show the promotion decision and its reasons."""
    verdict = "promoted" if decision.promoted else "refused"
    looks = (decision.looks.summary,) if decision.looks else ()
    reasons = "\n".join(f"- {reason}" for reason in (*decision.reasons, *looks))
    create_markdown_artifact(key="promotion", markdown=f"Model `{decision.challenger}` **{verdict}**\n\n{reasons}")


def show_serving_check(serving_check: ServingCheck) -> None:
    """Show whether the release can be served, and why."""
    verdict = "can be served" if serving_check.certified else "is **not** to be served"
    reasons = "\n".join(f"- {reason}" for reason in serving_check.reasons)
    create_markdown_artifact(key="serving-check", markdown=f"Release `{serving_check.version}` {verdict}\n\n{reasons}")
