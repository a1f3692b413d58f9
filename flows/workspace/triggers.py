"""Triggers of a retraining: a note in the workspace, then a Prefect event.

The event starts ``retrain/on-event`` within seconds. On SQLite an event can get lost, and a run can be killed. The note
stays until a retraining has finished, and ``flows.poll`` starts overdue retrainings.
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
"""Id of the events' resource; the triggers in ``prefect.yaml`` name it."""


class Due(Record):
    """A pending reason to retrain."""

    cause: Cause
    key: str = Field(description="Hash of the cause; the same key triggers once.")
    summary: str = Field(description="One sentence for people.")
    since: datetime


def announce(layout: Layout, cause: Cause, *, key: str, summary: str) -> bool:
    """Make a retraining due and emit Prefect's event, from inside a flow; False if the key was announced before.

    Args:
        layout: The workspace.
        cause: ``data``: new rows; ``drift``: the requests have changed; ``feedback``: enough pictures.
        key: Hash of the cause, so that repeated checks announce it once.
        summary: One sentence for people.
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
    """Every pending reason to retrain."""
    notes = (Due.read(layout.due(cause)) for cause in get_args(Cause))
    return tuple(note for note in notes if note is not None)


def resolve(layout: Layout, dealt_with: tuple[Due, ...]) -> None:
    """Mark these reasons as resolved by a finished retraining; reasons that came up meanwhile stay pending."""
    for note in dealt_with:
        if Due.read(layout.due(note.cause)) == note:
            layout.due(note.cause).replace(layout.dealt(note.cause))
