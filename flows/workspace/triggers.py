"""What makes a retraining due, so that none gets lost: first a note in the workspace, then Prefect's event.

The event starts ``retrain/on-event`` within seconds. On SQLite an event can get lost, and so can a run that is killed:
the note stays until a retraining has dealt with it, and ``flows.poll`` starts what is overdue.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, get_args

from prefect.events import emit_event
from pydantic import Field

from entityclip.paths import Layout
from entityclip.schemas import Record

Cause = Literal["data", "drift", "feedback"]
RESOURCE = "entityclip.workspace"
"""Id of the resource that the events are about; the triggers in ``prefect.yaml`` name it."""


class Due(Record):
    """A reason to train again that nobody has dealt with yet."""

    cause: Cause
    key: str = Field(description="What it is about; the same key is dealt with once.")
    summary: str = Field(description="A sentence for people.")
    since: datetime


def announce(layout: Layout, cause: Cause, *, key: str, summary: str) -> bool:
    """Make a retraining due and tell Prefect, from inside a flow; False where this very thing was announced before.

    Args:
        layout: The workspace.
        cause: ``data``: new rows; ``drift``: what is asked has changed; ``feedback``: enough has come.
        key: Hash of what it is about, so that it is told once however often somebody looks.
        told: A sentence for people.
    """
    known = (Due.read(layout.due(cause)), Due.read(layout.dealt(cause)))
    if any(note is not None and note.key == key for note in known):
        return False
    Due(cause=cause, key=key, summary=summary, since=datetime.now(UTC)).write(layout.due(cause))
    emit_event(
        event=f"entityclip.{cause}",
        resource={"prefect.resource.id": RESOURCE, "prefect.resource.name": layout.root.name},
        payload={"workspace": str(layout.root), "key": key, "summary": summary},
    )
    return True


def due(layout: Layout) -> tuple[Due, ...]:
    """Every reason that nobody has dealt with yet."""
    notes = (Due.read(layout.due(cause)) for cause in get_args(Cause))
    return tuple(note for note in notes if note is not None)


def resolve(layout: Layout, dealt_with: tuple[Due, ...]) -> None:
    """A retraining that began after these were due has ended; what came while it ran stays due."""
    for note in dealt_with:
        if Due.read(layout.due(note.cause)) == note:
            layout.due(note.cause).replace(layout.dealt(note.cause))
