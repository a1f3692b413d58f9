"""Erasure, step by step: search, commit a record, rebuild the newest data, delete, check.

The order makes it safe to kill: the record comes first, so that nothing can be restored from then on; versions in cache
and remotes come last, since a second run needs them to know what to search for.
"""

from __future__ import annotations

import csv
import secrets
import shutil
import tempfile
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from entityclip.data.erasure import Erasure, ErasureRequest, Subject, digests_of, folded, read_erasures, without
from entityclip.errors import WorkspaceError
from entityclip.paths import DataLayout, Layout
from entityclip.schemas import Record
from entityclip.storage import atomic_path
from flows.erasure import history, places
from flows.erasure.objects import Objects
from flows.erasure.survey import ErasureFinding, Survey, feedback_rows, survey
from flows.steps.deploy_release import served_package, state_of
from flows.workspace.dvc_hashes import pointer_hash
from flows.workspace.dvc_remote import bring, has_remote, push
from flows.workspace.locks import workspace_lock
from flows.workspace.registry import champion, release_of, unassign_champion, versions
from flows.workspace.repository import Repository, exclusive
from flows.workspace.triggers import Due
from flows.workspace.versions import version_data

T = TypeVar("T")


class Outcome(Record):
    """What was found, and whether it is erased."""

    found: tuple[ErasureFinding, ...]
    erased: bool
    record: str = ""
    releases: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


def preview(layout: Layout, request: ErasureRequest) -> Outcome:
    """Every place that holds the requested data; nothing is changed.

    Raises:
        WorkspaceError: Not a workspace, or a remote cannot be reached.
    """
    seen, found = _seen(layout, request)
    return Outcome(found=tuple(found), erased=False, releases=tuple(seen.releases), models=tuple(seen.models))


def erase(layout: Layout, request: ErasureRequest, *, by: str) -> Outcome:
    """Erase the requested data everywhere that ``preview`` lists; after a kill, the same call completes it.

    Args:
        layout: The workspace.
        request: What is to be erased.
        by: Name for the record.

    Raises:
        Busy: A run holds the workspace.
        WorkspaceError: Not a workspace, another erasure is unfinished, or a remote cannot be reached; nothing was
            deleted then.
        DataError: No pair would be left.
    """
    _require_workspace(layout)
    with workspace_lock(layout):
        record = _unfinished(layout, request)
        seen, found = _seen(layout, request)
        if not found and record is None:
            return Outcome(found=(), erased=True)
        with tempfile.TemporaryDirectory(dir=layout.work) as scratch:
            data = _prepared(layout, seen, Path(scratch))
            record = _recorded(layout, record or _new(request, by), seen, request, found)
            _make_again(layout, seen, data)
        _step_down(layout, record)
        _erase_places(layout, seen.subject, record)
        _due(layout, record)
        _delete_versions(layout, seen.subject, record)
        _require_gone(layout, request)
        _commit(layout, record.model_copy(update={"finished": datetime.now(UTC)}), "Erasure finished")
        return Outcome(
            found=tuple(found), erased=True, record=record.id, releases=record.releases, models=record.models
        )


# ---------------------------------------------------------------- search
def _seen(layout: Layout, request: ErasureRequest) -> tuple[Survey, list[ErasureFinding]]:
    """Search versions and places; the subject is extended by what their rows show."""
    _require_workspace(layout)
    subject, state = Subject(request), state_of(layout)
    erased = {hash for record in read_erasures(layout.erasures) for hash in record.versions}
    places.identify(layout, subject)
    seen = _with_objects(layout, lambda objects: survey(layout, subject, objects, erased=erased))
    found = [
        *seen.found,
        *places.service_found(state, subject),
        *places.ledger_found(layout, subject),
        *history.history_found(layout, subject),
    ]
    if found or places.work_holds(layout, subject):
        found += [*places.work_found(layout, seen.releases), *places.samples_found(state)]
    return seen, [*found, *places.prefect_found(layout, subject)]


def _require_workspace(layout: Layout) -> None:
    if not (layout.dvc_folder / "config").exists():
        raise WorkspaceError(f"{layout.root}: not a workspace; name the folder that runs were started with")


def _with_objects(layout: Layout, work: Callable[[Objects], T]) -> T:
    def inside(repo: Any) -> T:
        layout.work.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=layout.work) as scratch:
            return work(Objects(repo, layout, Path(scratch)))

    return Repository(layout.root).dvc(inside, doing="reading cache and remotes, before anything is deleted,")


# ---------------------------------------------------------------- the record
def _unfinished(layout: Layout, request: ErasureRequest) -> Erasure | None:
    """The record of an interrupted erasure for the same request, or None.

    Raises:
        WorkspaceError: The erasure of another request was interrupted.
    """
    cut_off = [record for record in read_erasures(layout.erasures) if record.finished is None]
    for record in cut_off:
        if not record.is_of(request):
            raise WorkspaceError(
                f"{layout.erasures / record.id}.json: the erasure that {record.by} began on {record.since:%Y-%m-%d} "
                f"was interrupted; run its command (--{record.kind} ...) again first"
            )
    return cut_off[0] if cut_off else None


def _new(request: ErasureRequest, by: str) -> Erasure:
    record = Erasure(
        id=uuid.uuid4().hex[:12],
        kind=request.kind,
        request="",
        by=by,
        since=datetime.now(UTC),
        salt=secrets.token_hex(32),
        digests=(),
        versions=(),
        releases=(),
        models=(),
        counts={},
    )
    return record.model_copy(update={"request": record.digest("request", f"{request.kind} {folded(request.value)}")})


def _recorded(
    layout: Layout, record: Erasure, seen: Survey, request: ErasureRequest, found: list[ErasureFinding]
) -> Erasure:
    """Extend the record by what was found and commit it."""
    known = {
        "digests": (*record.digests, *digests_of(record, seen.subject, request)),
        "versions": (*record.versions, *(version.hash for version in seen.doomed)),
        "releases": (*record.releases, *seen.releases),
        "models": (*record.models, *seen.models),
    }
    once = {name: tuple(dict.fromkeys(values)) for name, values in known.items()}
    counts = {line.place: line.count for line in found} | record.counts
    record = record.model_copy(update={**once, "counts": counts})
    _commit(layout, record, f"Erasure {record.id} of {len(record.versions)} versions")
    return record


def _commit(layout: Layout, record: Erasure, message: str) -> None:
    path = layout.erasures / f"{record.id}.json"
    with exclusive(layout):
        record.write(path)
        Repository(layout.root).commit(message, [path])


# ---------------------------------------------------------------- the newest versions
def _prepared(layout: Layout, seen: Survey, scratch: Path) -> DataLayout | None:
    """Build the newest data without the subject in ``scratch``; None if they do not hold it. Changes nothing else."""
    current = seen.current.get("data")
    if current is None:
        return None
    bring(layout, current.hash, scratch / "before")
    again = DataLayout(scratch / "again")
    without(DataLayout(scratch / "before"), seen.subject, into=again)
    return again


def _make_again(layout: Layout, seen: Survey, data: DataLayout | None) -> None:
    if data is not None:
        version_data(layout, data, message="Data without what was erased", pushed=has_remote(layout))
    elif places.holds(layout.data, seen.subject):  # somebody checked out another version
        with exclusive(layout):
            shutil.rmtree(layout.data.root)
            bring(layout, pointer_hash(layout.data_dvc.read_text()), layout.data.root)
    if "feedback" in seen.current:
        _feedback_again(layout, seen)


def _feedback_again(layout: Layout, seen: Survey) -> None:
    """Version the feedback without judgements and pictures of the subject."""
    folder, repository = layout.feedback, Repository(layout.root)
    with exclusive(layout):
        if not folder.root.exists():
            bring(layout, seen.current["feedback"].hash, folder.root)
        named: set[str] = set()
        for table in (folder.judged, folder.table, folder.names, folder.products, folder.product_pictures):
            if table.exists():
                _filter(table, seen.subject)
                named |= {row.get("picture", "") for row in feedback_rows(table)}
        for picture in folder.picture("x").parent.glob("*"):
            if picture.name not in named:
                picture.unlink()
        hash = repository.add(folder.root)
        if has_remote(layout):
            push(layout, {layout.feedback_dvc: hash})
        repository.commit("Feedback without what was erased", [layout.feedback_dvc])


def _filter(table: Path, subject: Subject) -> None:
    rows = [subject.unnamed(row) for row in feedback_rows(table) if not subject.about(row)]
    with table.open(encoding="utf-8", newline="") as stream:
        columns = next(csv.reader(stream))
    with atomic_path(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


# ---------------------------------------------------------------- deleting
def _step_down(layout: Layout, record: Erasure) -> None:
    """Unassign a champion whose data are erased: it could not be packaged again."""
    current = champion(layout)
    if current is not None and current.version in record.releases:
        unassign_champion(layout, current.version, message=f"Its data were erased: erasure {record.id}")


def _erase_places(layout: Layout, subject: Subject, record: Erasure) -> None:
    state, before = state_of(layout), versions(layout)
    gone = [served_package(layout, release_of(layout, version)) for version in record.releases]
    places.erase_service(state, subject)
    places.drop_live(state, gone)
    places.erase_ledger(layout, subject)
    places.erase_work(layout, record.releases)
    history.rewrite(layout, subject)
    after = versions(layout)
    places.built_again(layout, [version for version in before if before[version] != after.get(version)])


def _due(layout: Layout, record: Erasure) -> None:
    """A retraining is due; ``flows.poll`` starts it where deployments run."""
    if record.versions:
        summary = f"data were erased (erasure {record.id}); {len(record.models)} models were trained on them"
        Due(cause="data", key=record.id, summary=summary, since=datetime.now(UTC)).write(layout.due("data"))


def _delete_versions(layout: Layout, subject: Subject, record: Erasure) -> None:
    def work(objects: Objects) -> None:
        objects.delete(survey(layout, subject, objects, erased=record.versions).unneeded)

    _with_objects(layout, work)


def _require_gone(layout: Layout, request: ErasureRequest) -> None:
    _, found = _seen(layout, request)
    if still := [line.place for line in found if not line.left]:
        raise WorkspaceError(
            f"{layout.root}: {', '.join(still)} still hold it; stop the process that writes there and run again"
        )
