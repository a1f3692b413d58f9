"""Criteria of a trial in the workspace's Git: committed before the data, and unchanged since.

Git proves the order of commits, not their time: history that was rewritten and never pushed proves nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from entityclip.errors import ConfigError, WorkspaceError
from entityclip.paths import Layout
from entityclip.reports.value.criteria import Criteria, read_criteria
from entityclip.storage import atomic_write
from flows.workspace.create import open_workspace
from flows.workspace.repository import Repository, exclusive

_COMMIT = "entityclip value-report --workspace DIR --criteria criteria.yaml --commit"
_NEW_TRIAL = f"start a new trial: in a new workspace, {_COMMIT} before the first run"


class CommittedCriteria(NamedTuple):
    """Criteria that were set before the data."""

    criteria: Criteria
    text: str
    commit: str
    """Of their last change."""
    data_commit: str
    """Of the first data."""
    author: str
    """Whom Git names as the author of the last change."""


def commit_criteria(workspace: Path, file: Path) -> str:
    """Commit ``file`` as the workspace's criteria and return the commit; makes the workspace if it is missing.

    Raises:
        ConfigError: The file cannot be read, or lacks an assumption.
        WorkspaceError: The workspace has data.
    """
    text = _text(file)
    criteria = read_criteria(text, where=file)
    layout = open_workspace(workspace)
    with exclusive(layout):
        repository = Repository(layout.root)
        if data := _first_data(layout, repository):
            raise WorkspaceError(
                f"{layout.root}: has had data since commit {data[:8]}, so that criteria would be set after they were "
                f"seen; {_NEW_TRIAL}"
            )
        atomic_write(layout.criteria, text)
        repository.commit(f"Criteria: {criteria.name}", [layout.criteria])
        return _last_change(layout, repository)


def committed_criteria(layout: Layout, file: Path | None) -> CommittedCriteria:
    """The workspace's criteria, where they were committed before the first data.

    Args:
        layout: The workspace.
        file: What the caller holds for the criteria; None: the workspace's own file.

    Raises:
        ConfigError: The file differs from the committed one, or cannot be read.
        WorkspaceError: None are committed, they changed after the first data, or there are no data yet.
    """
    repository, given = Repository(layout.root), file or layout.criteria
    committed = repository.committed(layout.criteria)
    if committed is None:
        raise WorkspaceError(f"{layout.root}: no {layout.criteria.name} is committed; {_NEW_TRIAL}")
    if _text(given).rstrip("\n") != committed:
        raise ConfigError(
            f"{given}: differs from {layout.criteria.name} as committed in {layout.root}; leave --criteria out and "
            f"restore the file (git -C {layout.root} checkout HEAD -- {layout.criteria.name}), or {_NEW_TRIAL}"
        )
    data = _first_data(layout, repository)
    if data is None:
        raise WorkspaceError(f"{layout.root}: has no data yet; run the pipeline first: entityclip run")
    commit = _last_change(layout, repository)
    _require_before(layout, repository, commit=commit, data=data)
    author = repository.git("log", "-1", "--format=%an, %as", commit)
    return CommittedCriteria(read_criteria(committed, where=given), committed, commit, data, author)


def _require_before(layout: Layout, repository: Repository, *, commit: str, data: str) -> None:
    if repository.git("rev-parse", "--is-shallow-repository") == "true":
        raise WorkspaceError(
            f"{layout.root}: is a shallow clone, which cannot show what came first; git fetch --unshallow"
        )
    earlier = repository.git_or_none("merge-base", "--is-ancestor", commit, data) is not None
    if commit == data or not earlier:
        raise WorkspaceError(
            f"{layout.criteria}: was last changed in commit {commit[:8]}, which is not before {data[:8]}, the commit "
            f"of the first data: the criteria may have been fitted to the result; {_NEW_TRIAL}"
        )


def _last_change(layout: Layout, repository: Repository) -> str:
    return repository.git("log", "-1", "--format=%H", "--", layout.criteria.name)


def _first_data(layout: Layout, repository: Repository) -> str | None:
    """The commit that added ``data.dvc`` first; None if none did."""
    log = repository.git_or_none("log", "--topo-order", "--diff-filter=A", "--format=%H", "--", layout.data_dvc.name)
    return log.splitlines()[-1] if log else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as UTF-8 text: {error}; expected criteria in YAML") from error
