"""What flows tell Prefect's events, for triggers and notifications.

Automations match ``entityclip.*`` by name and the workspace by ``prefect.resource.id``.
"""

from __future__ import annotations

from typing import Any, Literal

from prefect.events import emit_event

from entityclip.layout import Layout

EventName = Literal["data", "promoted", "refused", "drift", "feedback"]


def announce(name: EventName, layout: Layout, **payload: Any) -> None:
    """Emit ``entityclip.NAME`` about this workspace.

    Args:
        name: ``data``: a new data version; ``promoted`` and ``refused``: a challenger's fate, or a batch's at the
            gate; ``drift``: something began to drift; ``feedback``: enough has come for a retraining.
        layout: The workspace.
        **payload: What a message should say; values that JSON knows.
    """
    resource = {"prefect.resource.id": resource_id(layout), "prefect.resource.name": layout.root.name}
    emit_event(event=f"entityclip.{name}", resource=resource, payload={"workspace": str(layout.root), **payload})


def resource_id(layout: Layout) -> str:
    """What events call this workspace."""
    return f"entityclip.workspace.{layout.root.resolve().as_posix().strip('/').replace('/', '.')}"
