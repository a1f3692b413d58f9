"""Garbage collection of files that no run, release or service needs. Lists them; deletes only if you request it.

It never deletes the only copy of anything: runs, copies of releases and Bentos are restored from Git and DVC when they
are needed. Data, ledger, keys, feedback and reports are never touched.
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
"""The champion and its predecessor stay packaged, so that a rollback takes a second."""


class Garbage(Record):
    """One folder that can be deleted."""

    what: str
    path: Path
    megabytes: float


@flow(name="collect", flow_run_name="collect-dry-{dry}")
def collect(workspace: Path, dry: bool = True, days: Annotated[float, Field(ge=0)] = 30.0) -> tuple[Garbage, ...]:
    """Delete folders that are no longer needed.

    Args:
        workspace: Git and DVC repository.
        dry: Only list what would be deleted.
        days: Keep runs that were modified within this many days.
    """
    found = sweep(Layout(workspace.resolve()), dry=dry, days=days)
    rows = [{"what": g.what, "folder": g.path.name, "MB": round(g.megabytes, 1)} for g in found]
    create_table_artifact(key="garbage", table=rows, description="would be deleted" if dry else "deleted")
    return found


def sweep(layout: Layout, *, dry: bool, days: float) -> tuple[Garbage, ...]:
    """The folders that can be deleted; deleted already unless ``dry``. Waits for a run that holds the workspace.

    Raises:
        Busy: A run holds the workspace, and ``runs.when_busy`` is ``drop``.
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
    """The champion, its predecessor, releases that wait for approval, and those that a service has loaded."""
    periods, current = [r.version for r in history(layout)], champion(layout)
    recent = {*list(dict.fromkeys(reversed(periods)))[:PERIODS_KEPT], *([current.version] if current else [])}
    decided = active_release.read(state_of(layout))
    folders = (decided.champion, decided.previous, decided.challenger) if decided else ()
    requests = (Approval.read(layout.approval(version)) for version in versions(layout))
    waiting = [approval.version for approval in requests if approval is not None and approval.approved is None]
    return {*recent, *waiting, *(folder.name for folder in folders if folder)}


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _touched(folder: Path) -> float:
    """Modification time of the newest file in it."""
    return max((path.stat().st_mtime for path in (folder, *folder.rglob("*"))), default=0.0)


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
