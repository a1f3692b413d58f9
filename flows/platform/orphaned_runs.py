"""Runs that were killed: Prefect calls them Running for ever, unless somebody who knows says otherwise.

A worker notices when its run dies; nobody notices a run by hand, or the death of both. Every run of the main job
therefore holds a lock named by its run id until its process ends, however it ends. The next run in the workspace finds
the locks that nobody holds any more.
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
"""The system gives them back when the process ends: by then Prefect knows how the run ended."""


def register_run(layout: Layout) -> None:
    """Let later runs know that this one is alive, and tell Prefect of those that are not any more."""
    mark_crashed(layout)
    run = flow_run.get_id()
    if run is not None:
        lock = FileLock(layout.alive(run))
        lock.acquire()
        _held.append(lock)


def mark_crashed(layout: Layout) -> None:
    """Give up the names of processes that are gone; what Prefect still calls Running was killed."""
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
                message = f"its process was killed, as {layout.root} tells"
                client.set_flow_run_state(left.id, Crashed(message=message), force=True)
                log.warning("run %s: %s", left.name, message)
        path.unlink(missing_ok=True)
        lock.release()


def _unfinished(client: SyncPrefectClient, run: UUID) -> list[FlowRun]:
    """The run and the runs inside it, those that did not end; none where another Prefect kept it."""
    try:
        whole = client.read_flow_run(run)
    except ObjectNotFound:
        return []
    inside = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run]))
    )
    return [each for each in (*inside, whole) if each.state is None or not each.state.is_final()]
