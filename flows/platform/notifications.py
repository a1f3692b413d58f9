"""Notifications: automations that send Prefect's events to a notification block.

Create the block once, on Prefect's page or in Python: Slack, e-mail, Teams or any other service that Apprise supports.
Then run ``entityclip notify --block slack-webhook/ops``. The address stays on Prefect's server.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect.automations import Automation
from prefect.blocks.core import Block
from prefect.events import emit_event
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture

from entityclip.errors import ConfigError
from entityclip.paths import Layout
from entityclip.schemas import PromotionDecision
from flows.workspace.triggers import RESOURCE

_OURS = {"prefect.resource.id": f"{RESOURCE}*"}
NOTICES: dict[str, tuple[set[str], dict[str, Any], str]] = {
    "entityclip: a run failed or crashed": (
        {"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
        {"prefect.resource.id": "prefect.flow-run.*"},
        "{{ flow.name }}, run {{ flow_run.name }}, ended {{ flow_run.state.name }}: {{ flow_run.state.message }}",
    ),
    "entityclip: a challenger was compared": (
        {"entityclip.promoted", "entityclip.refused"},
        _OURS,
        "{{ event.payload.summary }} (workspace {{ event.payload.workspace }})",
    ),
    "entityclip: a retraining is due": (
        {"entityclip.drift", "entityclip.feedback"},
        _OURS,
        "{{ event.payload.summary }} (workspace {{ event.payload.workspace }})",
    ),
}
"""Automation -> events, resource that they are about, message."""


def tell_verdict(layout: Layout, decision: PromotionDecision, *, version: str | None) -> None:
    """Emit ``entityclip.promoted`` or ``entityclip.refused``, from inside a flow.

    Args:
        layout: The workspace.
        decision: Decision about the challenger.
        version: The champion after the decision.
    """
    verdict = "promoted" if decision.promoted else "refused"
    summary = f"Model {decision.challenger[:12]} {verdict}, the champion is {version}: {'; '.join(decision.reasons)}"
    emit_event(
        event=f"entityclip.{verdict}",
        resource={"prefect.resource.id": RESOURCE, "prefect.resource.name": layout.root.name},
        payload={"workspace": str(layout.root), "summary": summary},
    )


def subscribe(block: str) -> list[str]:
    """Create the automations, or point existing ones at this block; returns their names.

    Args:
        block: Notification block, as ``TYPE/NAME``.

    Raises:
        ConfigError: Prefect has no such block.
    """
    try:
        loaded: Any = Block.load(block)
    except ValueError as error:
        raise ConfigError(f"block {block!r}: {error}; create it first and name it as TYPE/NAME") from None
    for name in NOTICES:
        _put(name, loaded._block_document_id)
    return list(NOTICES)


def _put(name: str, document: UUID) -> None:
    expect, match, body = NOTICES[name]
    trigger = EventTrigger(expect=expect, match=match, posture=Posture.Reactive, threshold=1)
    actions: list[Any] = [SendNotification(block_document_id=document, subject=name, body=body)]
    try:
        known: Any = Automation.read(name=name)  # annotated for use inside an event loop only
    except ValueError:
        Automation(name=name, trigger=trigger, actions=actions).create()
    else:
        known.trigger, known.actions = trigger, actions
        known.update()
