"""Polls for new rows of the source, overdue retrainings and expired approval requests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.deployments import run_deployment

from entityclip.paths import Layout
from entityclip.schemas import Record
from flows.approve import expire
from flows.workspace.source import WorkspaceSource
from flows.workspace.triggers import Due, announce, due

PATIENCE = timedelta(minutes=10)
"""Time that an event may take to start its run."""


class PollResult(Record):
    """What one poll found."""

    new_rows: bool
    overdue: tuple[str, ...]
    expired: tuple[str, ...]


@flow(name="poll")
def poll(
    workspace: Path = Path("build/workspace"),
    start: str = "retrain/on-event",
) -> PollResult:
    """Check the source and the pending retrainings; start those whose event got lost.

    Args:
        workspace: Git and DVC repository; nothing happens before the first retraining has created it.
        start: Deployment to start for an overdue retraining.
    """
    layout = Layout(workspace.resolve())
    if not layout.rules.exists():
        get_run_logger().info("%s: there is no workspace yet; the first retraining creates it", layout.root)
        return PollResult(new_rows=False, overdue=(), expired=())
    new = _new_rows(layout)
    overdue = [note for note in due(layout) if datetime.now(UTC) - note.since > PATIENCE]
    for note in overdue:
        _start(layout, note, start)
    return PollResult(new_rows=new, overdue=tuple(note.cause for note in overdue), expired=expire(layout))


def _new_rows(layout: Layout) -> bool:
    """Whether the source's rows have changed since the last poll; False if the workspace remembers no source."""
    source = WorkspaceSource.read(layout.source)
    if source is None:
        get_run_logger().warning("%s remembers no source; name it in a retraining by hand", layout.root)
        return False
    rows = source.open(layout, progress=False)
    summary = f"the rows of {rows.name} have changed since the last poll"
    return announce(layout, "data", key=rows.fingerprint(), summary=summary)


def _start(layout: Layout, note: Due, deployment: str) -> None:
    """Start the overdue retraining, at most once a day, so that one that always fails is not repeated all night."""
    get_run_logger().warning(
        "a retraining because of %s is due since %s and no run has done it: %s", note.cause, note.since, note.summary
    )
    run_deployment(
        deployment,
        parameters={"workspace": str(layout.root)},
        timeout=0,
        idempotency_key=f"{layout.root}-{note.cause}-{note.key}-{datetime.now(UTC):%Y-%m-%d}",
    )
