"""A person's word before a blessed release becomes the champion, where ``promotion.approval_hours`` asks for it.

The question is a file in the workspace, kept in Git with its answer. The run that asks it ends: it holds no device, no
lock and no worker while a person sleeps. ``approve/champion`` shows the question as a form on Prefect's page, and
``python -m flows.steps.release approve`` answers it where there is no server. Silence keeps the champion.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from pydantic import Field

from entityclip.errors import ConfigError
from entityclip.paths import Layout
from entityclip.schemas import Approval, PromotionDecision, Release
from flows.steps.deploy_release import ensure_proved, go_live
from flows.workspace.locks import alone
from flows.workspace.registry import assign_champion, champion, release_of
from flows.workspace.repository import Repository, exclusive

DEPLOYMENT = "approve/champion"


class Answer(RunInput):
    """The form on Prefect's page."""

    approve: bool = Field(description="Yes: the release answers from now on. No: the champion stays.")
    name: str = Field(min_length=1, description="Who says so; it is kept with the release.")
    comment: str = Field(default="", description="Why.")


# ---------------------------------------------------------------- the question and its answer
def asked(layout: Layout, release: Release) -> Approval | None:
    """The question about this release, answered or not; None where nobody was asked."""
    return Approval.read(layout.approval(release.version))


def ask(layout: Layout, release: Release, *, hours: float) -> Approval:
    """Ask about this release; a question that was asked before stands as it is."""
    known = asked(layout, release)
    if known is not None:
        return known
    now = datetime.now(UTC)
    question = Approval(version=release.version, asked=now, until=now + timedelta(hours=hours))
    _record(layout, question, message=f"{release.version} waits for a person until {question.until:%F %H:%M} UTC")
    return question


def settle(layout: Layout, version: str, *, approve: bool, name: str, comment: str) -> Approval:
    """Keep the answer; a yes in time makes the release the champion.

    Raises:
        ConfigError: Nobody asked, it is answered already, it is too late, or another champion came in between.
    """
    question = Approval.read(layout.approval(version))
    if question is None or question.approved is not None:
        said = f"was answered by {question.name}: {question.comment or 'done'}" if question else "was never asked about"
        raise ConfigError(f"{version} {said}; nothing to approve")
    if datetime.now(UTC) > question.until:
        expire(layout)
        raise ConfigError(f"{version}: the time ended at {question.until:%F %H:%M} UTC; the champion stays")
    release = release_of(layout, version)
    if approve:
        _require_same_champion(layout, release)
        ensure_proved(layout, release)
        go_live(layout, release)
        assign_champion(layout, version, message=f"Approved by {name}{f': {comment}' if comment else ''}")
    # Last, so that a kill before it leaves the question open and the same answer completes it.
    answered = question.model_copy(update={"approved": approve, "name": name, "comment": comment})
    _record(layout, answered, message=f"{version} {'approved' if approve else 'declined'} by {name}")
    return answered


def expire(layout: Layout) -> tuple[str, ...]:
    """Close every question whose time has ended: the champion stays. Returns the versions."""
    known = [Approval.read(path) for path in sorted(layout.approval("v").parent.glob("*.json"))]
    late = [a for a in known if a is not None and a.approved is None and datetime.now(UTC) > a.until]
    for approval in late:
        closed = approval.model_copy(update={"approved": False, "name": "nobody", "comment": "no answer in time"})
        _record(layout, closed, message=f"{closed.version}: no answer in time, the champion stays")
    return tuple(approval.version for approval in late)


def _require_same_champion(layout: Layout, release: Release) -> None:
    """The release was compared with one champion; its gain over another one is unknown."""
    kept = Repository(layout.root).committed(layout.report("promotion"), commit=release.commit)
    judged = PromotionDecision.model_validate_json(kept or "").champion
    current = champion(layout)
    if current != release and (current.version if current else None) != judged:
        raise ConfigError(
            f"{release.version} was judged against {judged}, but {current.version if current else 'nobody'} is the "
            "champion now; run the retraining again"
        )


def _record(layout: Layout, approval: Approval, *, message: str) -> None:
    path = layout.approval(approval.version)
    with exclusive(layout):
        approval.write(path)
        Repository(layout.root).commit(message, [path])


# ---------------------------------------------------------------- Prefect
def notify(layout: Layout, question: Approval) -> None:
    """Start the run that shows the form, where a server has the deployment; once for each question."""
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(DEPLOYMENT)
        except ObjectNotFound:
            get_run_logger().info("answer with: python -m flows.steps.release approve --help")
            return
    run_deployment(
        DEPLOYMENT,
        parameters={"workspace": str(layout.root), "version": question.version},
        timeout=0,
        idempotency_key=f"{layout.root}-{question.version}-{question.asked.isoformat()}",
    )


@flow(name="approve", flow_run_name="approve-{version}")
def approve(workspace: Path, version: str) -> Approval:
    """Wait for a person's answer, without a process; it is run again from the top when the answer has come.

    Args:
        workspace: Git and DVC repository of the release.
        version: The release that is blessed and waits.
    """
    layout = Layout(workspace.resolve())
    question = Approval.read(layout.approval(version))
    if question is None or question.approved is not None:
        raise ConfigError(f"{version}: no question is open about it")
    left = (question.until - datetime.now(UTC)).total_seconds()
    form = Answer.with_initial_data(description=_question(layout, version))
    answer = suspend_flow_run(wait_for_input=form, timeout=max(1, int(left)), key="answer")
    with alone(layout):
        return settle(layout, version, approve=answer.approve, name=answer.name, comment=answer.comment)


def _question(layout: Layout, version: str) -> str:
    """What the person sees above the form, Markdown."""
    release = release_of(layout, version)
    kept = Repository(layout.root).committed(layout.report("promotion"), commit=release.commit)
    reasons = PromotionDecision.model_validate_json(kept or "").reasons
    current = champion(layout)
    shall = f"Shall **{version}** answer instead of **{current.version if current else 'nobody'}**?"
    return "\n".join([shall, "", *(f"- {reason}" for reason in reasons)])
