"""Manual approval of a certified release before it becomes the champion; on if ``promotion.approval_hours`` is set.

The request is a file in the workspace, kept in Git together with the answer. The run that writes the request ends: it
holds no device, no lock and no worker while it waits for a person. ``approve/champion`` shows the request as a form on
Prefect's page; without a server, answer it with ``entityclip approve``. When the time is over, the
champion stays.
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
from flows.steps.deploy_release import ensure_smoke_tested, go_live
from flows.workspace.locks import workspace_lock
from flows.workspace.registry import assign_champion, champion, release_of
from flows.workspace.repository import Repository, exclusive

DEPLOYMENT = "approve/champion"
EXPIRED_BY = "expiry"
"""Name in the record of a request that expired without an answer."""


class ApprovalForm(RunInput):
    """The form on Prefect's page."""

    approve: bool = Field(description="Yes: the release goes into service. No: the champion stays.")
    name: str = Field(min_length=1, description="Your name; it is kept with the release.")
    comment: str = Field(default="", description="Reason for the decision.")


# ---------------------------------------------------------------- requests and answers
def approval_of(layout: Layout, release: Release) -> Approval | None:
    """The approval request for this release, open or answered; None if none was made."""
    return Approval.read(layout.approval(release.version))


def request_approval(layout: Layout, release: Release, *, hours: float) -> Approval:
    """Request approval of this release; an earlier request for it is returned unchanged."""
    known = approval_of(layout, release)
    if known is not None:
        return known
    now = datetime.now(UTC)
    request = Approval(version=release.version, requested=now, until=now + timedelta(hours=hours))
    _record(layout, request, message=f"{release.version} waits for approval until {request.until:%F %H:%M} UTC")
    return request


def resolve(layout: Layout, version: str, *, approve: bool, name: str, comment: str) -> Approval:
    """Record the answer; if the release is approved in time, make it the champion.

    Raises:
        ConfigError: There is no open request, it has expired, or the champion has changed since the comparison.
    """
    request = Approval.read(layout.approval(version))
    if request is None:
        raise ConfigError(f"{version}: no approval was requested, so there is nothing to approve")
    if request.approved is not None:
        raise ConfigError(f"{version} was answered by {request.name}: {request.comment or 'done'}; nothing to approve")
    if datetime.now(UTC) > request.until:
        expire(layout)
        raise ConfigError(f"{version}: the request expired at {request.until:%F %H:%M} UTC; the champion stays")
    release = release_of(layout, version)
    if approve:
        _require_same_champion(layout, release)
        ensure_smoke_tested(layout, release)
        go_live(layout, release)
        assign_champion(layout, version, message=f"Approved by {name}{f': {comment}' if comment else ''}")
    # Last: after a kill before this line the request is still open, and the same answer completes it.
    answered = request.model_copy(update={"approved": approve, "name": name, "comment": comment})
    _record(layout, answered, message=f"{version} {'approved' if approve else 'declined'} by {name}")
    return answered


def expire(layout: Layout) -> tuple[str, ...]:
    """Close every expired request, so that the champion stays. Returns the versions."""
    known = [Approval.read(path) for path in sorted(layout.approval("v").parent.glob("*.json"))]
    late = [a for a in known if a is not None and a.approved is None and datetime.now(UTC) > a.until]
    for approval in late:
        closed = approval.model_copy(update={"approved": False, "name": EXPIRED_BY, "comment": "no answer in time"})
        _record(layout, closed, message=f"{closed.version}: no answer in time, the champion stays")
    return tuple(approval.version for approval in late)


def _require_same_champion(layout: Layout, release: Release) -> None:
    """The release was compared with one champion; how it compares with another is unknown."""
    compared = _promotion_decision(layout, release).champion
    current = champion(layout)
    if current != release and (current.version if current else None) != compared:
        raise ConfigError(
            f"{release.version} was compared with {compared}, but the champion is "
            f"{current.version if current else 'missing'} now; run the retraining again"
        )


def _promotion_decision(layout: Layout, release: Release) -> PromotionDecision:
    kept = Repository(layout.root).committed(layout.report("promotion"), commit=release.commit)
    return PromotionDecision.model_validate_json(kept or "")


def _record(layout: Layout, approval: Approval, *, message: str) -> None:
    path = layout.approval(approval.version)
    with exclusive(layout):
        approval.write(path)
        Repository(layout.root).commit(message, [path])


# ---------------------------------------------------------------- Prefect
def notify(layout: Layout, request: Approval) -> None:
    """Start the run that shows the form, if a server has the deployment; once for each request."""
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(DEPLOYMENT)
        except ObjectNotFound:
            get_run_logger().info("answer with: entityclip approve --help")
            return
    run_deployment(
        DEPLOYMENT,
        parameters={"workspace": str(layout.root), "version": request.version},
        timeout=0,
        idempotency_key=f"{layout.root}-{request.version}-{request.requested.isoformat()}",
    )


@flow(name="approve", flow_run_name="approve-{version}")
def approve(workspace: Path, version: str) -> Approval:
    """Wait for a person's answer without holding a process; Prefect runs the flow again from the top on the answer.

    Args:
        workspace: Git and DVC repository of the release.
        version: The certified release that waits for approval.
    """
    layout = Layout(workspace.resolve())
    request = Approval.read(layout.approval(version))
    if request is None or request.approved is not None:
        raise ConfigError(f"{version}: there is no open approval request; nothing to approve")
    left = (request.until - datetime.now(UTC)).total_seconds()
    form = ApprovalForm.with_initial_data(description=_form_text(layout, version))
    answer = suspend_flow_run(wait_for_input=form, timeout=max(1, int(left)), key="answer")
    with workspace_lock(layout):
        return resolve(layout, version, approve=answer.approve, name=answer.name, comment=answer.comment)


def _form_text(layout: Layout, version: str) -> str:
    """Markdown above the form: the question and the reasons of the promotion."""
    reasons = _promotion_decision(layout, release_of(layout, version)).reasons
    current = champion(layout)
    replaced = f"instead of **{current.version}**" if current else "as the first champion"
    return "\n".join([f"Put **{version}** into service {replaced}?", "", *(f"- {reason}" for reason in reasons)])
