"""Every few minutes: has the source new rows, is a retraining overdue, has a question to a person expired?"""

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
"""How long an event may take to start its run."""


class PollResult(Record):
    """What one look found."""

    new_rows: bool
    overdue: tuple[str, ...]
    expired: tuple[str, ...]


@flow(name="poll")
def poll(
    workspace: Path = Path("build/workspace"),
    start: str = "retrain/on-event",
) -> PollResult:
    """Look at the workspace's source and at what is due; start what an event should have started and did not.

    Args:
        workspace: As of the retraining; nothing happens before its first run has made it.
        start: Deployment that deals with what is overdue.
    """
    layout = Layout(workspace.resolve())
    if not layout.rules.exists():
        get_run_logger().info("%s: no workspace yet; the first retraining makes it", layout.root)
        return PollResult(new_rows=False, overdue=(), expired=())
    new = _new_rows(layout)
    overdue = [note for note in due(layout) if datetime.now(UTC) - note.since > PATIENCE]
    for note in overdue:
        _start(layout, note, start)
    return PollResult(new_rows=new, overdue=tuple(note.cause for note in overdue), expired=expire(layout))


def _new_rows(layout: Layout) -> bool:
    """Whether the workspace's source has other rows than at the last look; False while none is remembered."""
    source = WorkspaceSource.read(layout.source)
    if source is None:
        get_run_logger().warning("%s remembers no source; the next retraining by hand names it", layout.root)
        return False
    rows = source.open(layout, progress=False)
    summary = f"{rows.name} has other rows than at the last look"
    return announce(layout, "data", key=rows.fingerprint(), summary=summary)


def _start(layout: Layout, note: Due, deployment: str) -> None:
    """Start the retraining that is overdue: once a day, so that one that fails every time does not fill the night."""
    get_run_logger().warning(
        "%s is due since %s and no run has dealt with it: %s", note.cause, note.since, note.summary
    )
    run_deployment(
        deployment,
        parameters={"workspace": str(layout.root)},
        timeout=0,
        idempotency_key=f"{layout.root}-{note.cause}-{note.key}-{datetime.now(UTC):%Y-%m-%d}",
    )
