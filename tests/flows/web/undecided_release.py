"""A workspace with a champion, a refused challenger, and a release that waits for a person's answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from entityclip.explanations import Ledger
from entityclip.paths import CheckpointLayout, DataLayout, Layout
from entityclip.schemas import CostReading, EvalReport, Gain, Metric, PromotionDecision, Resources
from flows.approve import request_approval
from flows.workspace.registry import assign_champion
from flows.workspace.versions import record_decision, release, version_data

EVALUATION = EvalReport(
    model_fingerprint="a",
    evaluation_hash="",
    split="test",
    pictures=1,
    entities=1,
    metrics=tuple(
        Metric(index="mixed", direction="image_to_text", slice=name, name="R@1", value=42, low=40, high=44, queries=9)
        for name in ("all", "none", "category=mug")
    ),
    seconds=1.0,
)


@pytest.fixture
def undecided(
    workspace: Layout,
    accepted: Callable[[str], DataLayout],
    checkpoint: Callable[[str], CheckpointLayout],
    decided: Callable[..., PromotionDecision],
) -> Layout:
    """A champion, a refused challenger, and a release that waits for approval."""
    data = version_data(workspace, accepted("first"), message="Data").data_hash
    reports = {"evaluation": EVALUATION}
    first = release(workspace, checkpoint=checkpoint("a"), reports=reports, decision=decided("a", data))
    assign_champion(workspace, first.version, message="<b>the first</b>")
    gain = Gain(points=1.2, low=-0.4, high=2.8, queries=9)
    refused = decided("c", data, promoted=False).model_copy(update={"champion": first.version, "gain": gain})
    record_decision(workspace, refused)
    compared = decided("b", data).model_copy(update={"champion": first.version})
    second = release(workspace, checkpoint=checkpoint("b"), reports=reports, decision=compared)
    run = workspace.run("b")
    decided("b", data).write(run.decision)
    run.report.write_text("<title>Run b</title><script>1</script>")
    request_approval(workspace, second, hours=1)
    spent = Resources(tokens=700, cpu_seconds=1200, gpu_seconds=90, storage_mb=3.5, review_minutes=21)
    with Ledger(workspace.ledger) as ledger:
        ledger.write_reading(CostReading(started=datetime.now(UTC), release="v1.0.0", points=7, totals=spent))
    return workspace
