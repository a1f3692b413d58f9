"""The current and past champions and their files, read from GTO's tags alone.

GTO (DVC's model registry) keeps ``entityclip@v1.1.0`` for a version and ``entityclip#champion#7`` for the seventh
assignment. The champion is the last assignment, never the highest version: after a rollback the two differ, and
``gto.api.find_versions_in_stage`` returns the highest.
"""

from __future__ import annotations

import json
import logging
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from entityclip.data.erasure import read_erasures
from entityclip.errors import WorkspaceError
from entityclip.paths import Layout
from entityclip.schemas import Record, Release
from entityclip.storage import atomic_path
from flows.workspace.dvc_hashes import pointer_hash
from flows.workspace.dvc_remote import bring
from flows.workspace.repository import Repository, exclusive
from flows.workspace.tag_signatures import sign_tag, signable, without_signature

T = TypeVar("T")
log = logging.getLogger(__name__)
ARTIFACT = "entityclip"
CHAMPION = "champion"
FIRST_VERSION = "v1.0.0"


class ChampionPeriod(Record):
    """A release's time as the champion."""

    version: str
    commit: str
    since: datetime
    until: datetime | None
    message: str = Field(default="", description="Why it became the champion, as its tag says.")


# ---------------------------------------------------------------- reading tags
def champion(layout: Layout) -> Release | None:
    """The release that the last assignment names; None before the first."""
    periods = history(layout)
    return release_of(layout, periods[-1].version) if periods and periods[-1].until is None else None


def history(layout: Layout) -> list[ChampionPeriod]:
    """Every champion period, oldest first; ``until`` is None for the current champion."""
    periods: list[ChampionPeriod] = []
    for event in _events(layout, "assignment", "unassignment"):
        if event["stage"] != CHAMPION:
            continue
        when = event["timestamp"]
        if periods and periods[-1].until is None:
            periods[-1] = periods[-1].model_copy(update={"until": when})
        if event["event"] == "assignment":
            message = without_signature(event["message"] or "").strip()
            version, commit = event["version"], event["commit"]
            periods.append(ChampionPeriod(version=version, commit=commit, since=when, until=None, message=message))
    return periods


def last_champions(layout: Layout, *, count: int) -> list[str]:
    """Versions of the champion and of up to ``count`` - 1 champions before it, the newest first; empty without one.

    A release that a rollback took out of service is not among them.
    """
    periods, kept = history(layout), list[str]()
    for period in periods:
        if period.version in kept:
            del kept[kept.index(period.version) + 1 :]
        else:
            kept.append(period.version)
    return kept[::-1][:count] if periods and periods[-1].until is None else []


def versions(layout: Layout) -> dict[str, str]:
    """Version -> commit of every release, oldest first."""
    return {e["version"]: e["commit"] for e in _events(layout, "registration")}


def release_of(layout: Layout, version: str) -> Release:
    """The release of this version, read from its commit.

    Raises:
        WorkspaceError: There is no such version, or its commit lacks a part of a release.
    """
    known = versions(layout)
    if version not in known:
        raise WorkspaceError(f"{layout.root}: no release {version}; there are: {', '.join(known) or 'none yet'}")
    commit = known[version]
    pointer = Repository(layout.root).committed(layout.data_dvc, commit=commit)
    fingerprint = model_at(layout, commit)
    if pointer is None or fingerprint is None:
        raise WorkspaceError(f"{layout.root}: {version} ({commit[:8]}) lacks data.dvc or reports/promotion.json")
    return Release(version=version, commit=commit, model_fingerprint=fingerprint, data_hash=pointer_hash(pointer))


def model_at(layout: Layout, commit: str) -> str | None:
    """Fingerprint of the model that ``commit`` released; None if it released none."""
    promotion = Repository(layout.root).committed(layout.report("promotion"), commit=commit)
    return None if promotion is None else str(json.loads(promotion)["challenger"])


def _events(layout: Layout, *kinds: str) -> list[dict[str, Any]]:
    import gto.api

    events = _gto(layout, lambda root: gto.api.history(root, ARTIFACT, ascending=True))
    return sorted((e for e in events if e["event"] in kinds), key=lambda e: (e["timestamp"], _counter(e["ref"])))


def _counter(tag: str) -> int:
    number = tag.rpartition("#")[2]
    return int(number) if number.isdigit() else 0


def _gto(layout: Layout, call: Callable[[str], T]) -> T:
    from gto.exceptions import GTOException
    from scmrepo.exceptions import SCMError

    try:
        return call(str(layout.root))
    except (GTOException, SCMError) as error:
        raise WorkspaceError(f"{layout.root}: the model registry (GTO tags): {error}") from error


# ---------------------------------------------------------------- writing tags
def register(layout: Layout, commit: str) -> str:
    """Tag ``commit`` as the next version: v1.0.0, v1.1.0, v1.2.0 ... Once tagged, it stays."""
    import gto.api

    known = versions(layout)
    tagged = next((v for v, c in known.items() if c == commit), None)
    if tagged:
        return tagged
    step: dict[str, Any] = {"bump_minor": True} if known else {"version": FIRST_VERSION}
    return str(_gto(layout, lambda root: gto.api.register(root, ARTIFACT, commit, **step)).version)


def assign_stage(layout: Layout, version: str, *, message: str) -> None:
    """Assign the champion's stage to ``version``, in a second of its own, since tags have whole seconds."""
    import gto.api

    _wait_for_a_second_of_its_own(layout)
    why = signable(message)
    _gto(layout, lambda root: gto.api.assign(root, ARTIFACT, CHAMPION, version=version, message=why, force=True))
    sign_last_assignment(layout)


def unassign_champion(layout: Layout, version: str, *, message: str) -> None:
    """Leave the workspace without a champion until a release is assigned; ``message`` goes into the history."""
    import gto.api

    with exclusive(layout):
        _wait_for_a_second_of_its_own(layout)
        why = signable(message)
        _gto(layout, lambda root: gto.api.unassign(root, ARTIFACT, version=version, stage=CHAMPION, message=why))
        try:
            sign_last_assignment(layout)
        except WorkspaceError as error:  # an erasure goes on
            log.warning("%s", error)


def sign_version(layout: Layout, version: str) -> None:
    """Sign the tag of this version, where the user's Git signs tags; see ``sign_tag``."""
    sign_tag(Repository(layout.root), f"{ARTIFACT}@{version}")


def sign_last_assignment(layout: Layout) -> None:
    """Sign the tag of the last assignment, where the user's Git signs tags; see ``sign_tag``."""
    sign_tag(Repository(layout.root), _events(layout, "assignment", "unassignment")[-1]["ref"])


def _wait_for_a_second_of_its_own(layout: Layout) -> None:
    last = max((e["timestamp"] for e in _events(layout, "assignment", "unassignment")), default=None)
    ahead = (last - datetime.now(UTC)).total_seconds() if last else -1.0
    if ahead > 5:
        raise WorkspaceError(f"{layout.root}: the last assignment lies {ahead:.0f} s in the future; set the clock")
    time.sleep(max(0.0, ahead + 1.0))


def assign_champion(layout: Layout, version: str, *, message: str, force: bool = False) -> Release:
    """Make ``version`` the champion; its files stay where they are, see ``fetch_release``.

    Args:
        layout: The workspace.
        version: A released version.
        message: Reason, for the history.
        force: Needed to go back to a version that was the champion before.

    Raises:
        WorkspaceError: No such version, its data were erased, or it was the champion before and ``force`` is not set.
    """
    with exclusive(layout):
        release = release_of(layout, version)
        require_not_erased(layout, release)
        periods = history(layout)
        if periods and periods[-1].version == version and periods[-1].until is None:
            sign_last_assignment(layout)
            return release
        if any(r.version == version for r in periods) and not force:
            raise WorkspaceError(f"{version} was the champion before; to return to it, use `rollback --to {version}`")
        assign_stage(layout, version, message=message)
    return release


def was_champion(layout: Layout, version: str) -> bool:
    """Whether this version is or was the champion."""
    return any(period.version == version for period in history(layout))


def require_not_erased(layout: Layout, release: Release) -> None:
    """Refuse a release whose data were erased on request.

    Raises:
        WorkspaceError: Its data were erased; names the erasure and the releases that are left.
    """
    records = read_erasures(layout.erasures)
    gone = {version for record in records for version in record.releases}
    for record in records:
        if release.version in record.releases or release.data_hash in record.versions:
            left = ", ".join(version for version in versions(layout) if version not in gone) or "none; train again"
            raise WorkspaceError(
                f"{release.version}: its data were erased at a request on {record.since:%Y-%m-%d} "
                f"(erasure {record.id}), so it cannot be restored; releases that are left: {left}"
            )


# ---------------------------------------------------------------- fetching
def fetch_release(layout: Layout, version: str, *, data: bool = False) -> Layout:
    """A release's files under ``layout.release_copy(version)``, laid out like a workspace.

    The model, and ``data/`` if ``data`` is set, come from DVC, and their hashes are checked; config, rules and reports
    come from the commit.

    Raises:
        WorkspaceError: No such release, or its weights or data cannot be restored intact.
    """
    release, copy = release_of(layout, version), Layout(layout.release_copy(version))
    if data:
        require_not_erased(layout, release)
    with exclusive(layout):
        if not copy.report("release").exists():
            with atomic_path(copy.root) as temporary:
                _copy_commit(layout, release, partial := Layout(temporary))
                bring(layout, pointer_hash(partial.model_dvc.read_text()), partial.model.root)
                release.write(partial.report("release"))
        if data and not copy.data.root.exists():
            incoming = copy.incoming("data")
            shutil.rmtree(incoming, ignore_errors=True)
            bring(layout, release.data_hash, incoming)
            incoming.rename(copy.data.root)
    return copy


def _copy_commit(layout: Layout, release: Release, target: Layout) -> None:
    """The release's tracked files, as they were committed."""
    shutil.rmtree(target.root, ignore_errors=True)
    target.root.mkdir(parents=True)
    parts = [layout.data_dvc, layout.model_dvc, layout.config, layout.rules, layout.reports]
    names = [p.relative_to(layout.root).as_posix() for p in parts]
    repository = Repository(layout.root)
    present = repository.git("ls-tree", "-z", "--name-only", release.commit, "--", *names).split("\0")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "release.tar"
        repository.git("archive", "--output", str(archive), release.commit, "--", *filter(None, present))
        with tarfile.open(archive) as tar:
            tar.extractall(target.root, filter="data")
