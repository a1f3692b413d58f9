"""What Prefect's page shows of a run: tables and texts as artifacts."""

from __future__ import annotations

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from entityclip.records import EvalReport, PromotionDecision, QualityReport
from entityclip.report import slice_table


def show_quality(report: QualityReport) -> None:
    """Every rule with what it checked and what failed."""
    rows = [
        {"rule": r.rule, "severity": r.severity, "checked": r.checked, "failed": r.failed, "passed": r.passed}
        for r in report.rules
    ]
    verdict = report.refusal or f"{report.accepted_pairs} pairs accepted, {report.quarantined_pairs} set aside"
    create_table_artifact(key="quality", table=rows, description=f"{verdict}. Data Docs: {report.data_docs}")


def show_evaluation(report: EvalReport) -> None:
    """Recall by slice."""
    create_markdown_artifact(key="recall-by-slice", markdown=f"```\n{slice_table(report)}\n```")


def show_decision(decision: PromotionDecision) -> None:
    """Who won and why."""
    verdict = "promoted" if decision.promoted else "refused"
    reasons = "\n".join(f"- {reason}" for reason in decision.reasons)
    create_markdown_artifact(key="promotion", markdown=f"Model `{decision.challenger}` **{verdict}**\n\n{reasons}")
