"""Garbage collection: what no run, release or service needs any more. Says first, deletes only when told to.

Nothing in here is the only copy of anything: runs, copies of releases and Bentos are made again from Git and DVC when
they are asked for. Data, ledger, keys, feedback and reports are never touched.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from prefect import flow
from prefect.artifacts import create_table_artifact
from pydantic import Field

from bentos.runtime import active_release
from entityclip.paths import Layout, StoreLayout
from entityclip.schemas import Approval, Record
from flows.steps.deploy_release import state_of
from flows.workspace.locks import workspace_lock
from flows.workspace.registry import champion, history, versions

PERIODS_KEPT = 2
"""The champion and the one before it stay ready, so that going back takes a second."""


class Garbage(Record):
    """One folder that may go."""

    what: str
    path: Path
    megabytes: float


@flow(name="collect", flow_run_name="collect-dry-{dry}")
def collect(workspace: Path, dry: bool = True, days: Annotated[float, Field(ge=0)] = 30.0) -> tuple[Garbage, ...]:
    """Delete what nothing needs any more.

    Args:
        workspace: Git and DVC repository.
        dry: Only say what would go.
        days: Runs that were touched since stay.
    """
    found = sweep(Layout(workspace.resolve()), dry=dry, days=days)
    rows = [{"what": g.what, "folder": g.path.name, "MB": round(g.megabytes, 1)} for g in found]
    create_table_artifact(key="garbage", table=rows, description="would be deleted" if dry else "deleted")
    return found


def sweep(layout: Layout, *, dry: bool, days: float) -> tuple[Garbage, ...]:
    """What may go; gone already unless ``dry``. Waits while a run is at work in the workspace.

    Raises:
        Busy: A run is at work, and the workspace's policy is not to wait.
    """
    with workspace_lock(layout):
        found = tuple(garbage(layout, days=days))
        for item in found if not dry else ():
            shutil.rmtree(item.path, ignore_errors=True)
    return found


def garbage(layout: Layout, *, days: float) -> Iterator[Garbage]:
    """Old runs, copies of releases, Bentos with their models."""
    needed = needed_versions(layout)
    for path in _folders(layout.run("_").root.parent):
        if time.time() - _touched(path) > days * 86400:
            yield Garbage(what="run", path=path, megabytes=_megabytes(path))
    for path in _folders(layout.release_copy("_").parent):
        if path.name not in needed:
            yield Garbage(what="copy of a release", path=path, megabytes=_megabytes(path))
    store = StoreLayout(layout.bento_home.resolve())
    for version in versions(layout):
        for what, path in (("Bento", store.bento(version)), ("packaged model", store.model(version).root)):
            if version not in needed and path.is_dir():
                yield Garbage(what=what, path=path, megabytes=_megabytes(path))


def needed_versions(layout: Layout) -> set[str]:
    """The champion, the one before it, what waits for a person, and whatever a service has in its memory."""
    periods, current = [r.version for r in history(layout)], champion(layout)
    recent = {*list(dict.fromkeys(reversed(periods)))[:PERIODS_KEPT], *([current.version] if current else [])}
    decided = active_release.read(state_of(layout))
    folders = (decided.champion, decided.previous, decided.challenger) if decided else ()
    asked = (Approval.read(layout.approval(version)) for version in versions(layout))
    waiting = [approval.version for approval in asked if approval is not None and approval.approved is None]
    return {*recent, *waiting, *(folder.name for folder in folders if folder)}


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _touched(folder: Path) -> float:
    """When the newest file in it was written."""
    return max((path.stat().st_mtime for path in (folder, *folder.rglob("*"))), default=0.0)


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
