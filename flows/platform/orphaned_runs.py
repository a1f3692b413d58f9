"""Marks runs whose process was killed as Crashed; otherwise Prefect shows them as Running indefinitely.

A worker notices when its run dies, but not if the worker dies too, or if the run was started by hand. Every retraining
therefore holds a file lock named after its run id; the system releases it when the process ends. The next run in the
workspace finds the locks without a holder.
"""

from __future__ import annotations

import logging
from uuid import UUID

from filelock import FileLock, Timeout
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed

from entityclip.paths import Layout

log = logging.getLogger(__name__)
_held: list[FileLock] = []
"""Held until the process ends; by then Prefect knows how the run ended."""


def register_run(layout: Layout) -> None:
    """Register this run as alive, and mark runs whose process has died as Crashed."""
    mark_crashed(layout)
    run = flow_run.get_id()
    if run is not None:
        lock = FileLock(layout.alive(run))
        lock.acquire()
        _held.append(lock)


def mark_crashed(layout: Layout) -> None:
    """Mark unfinished runs whose process has died as Crashed."""
    folder = layout.alive("a run").parent
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        with get_client(sync_client=True) as client:
            for left in _unfinished(client, UUID(path.name)):
                message = f"its process was killed (found by the next run in {layout.root})"
                client.set_flow_run_state(left.id, Crashed(message=message), force=True)
                log.warning("run %s: %s", left.name, message)
        path.unlink(missing_ok=True)
        lock.release()


def _unfinished(client: SyncPrefectClient, run: UUID) -> list[FlowRun]:
    """The run and its subflows that have not ended; empty if this Prefect server does not know the run."""
    try:
        whole = client.read_flow_run(run)
    except ObjectNotFound:
        return []
    inside = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run]))
    )
    return [each for each in (*inside, whole) if each.state is None or not each.state.is_final()]
