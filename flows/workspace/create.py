"""Making a workspace: a folder that is a Git and DVC repository of its own.

Every step looks first whether it is done, so a run after a kill, at any point, completes what is missing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from entityclip.errors import WorkspaceError
from entityclip.paths import Layout
from entityclip.settings import default_config, read_config
from entityclip.storage import atomic_write
from expectations.check import copy_context
from flows.workspace.repository import Repository, exclusive, translate_disk_full

REMOTE = "workspace"
_IGNORED = (
    # DVC's, from the beginning: `dvc add` would write them, and a run killed before its commit would leave them behind.
    "/data",
    "/model",
    "/feedback",
    "/.entityclip/",
    "/.remote/",
    "/.*.incoming/",
    "/.*.outgoing/",
    "/ledger.sqlite*",
    "/.service/",
    "/.prefect/",
    "/expectations/gx/uncommitted/",
    "*.partial",
)
_CREDENTIALS = {
    "access_key_id",
    "account_key",
    "client_secret",
    "connection_string",
    "password",
    "sas_token",
    "secret_access_key",
    "session_token",
    "token",
}
"""Settings of DVC's remotes that let others in."""


def open_workspace(root: Path) -> Layout:
    """The workspace at ``root``, made or completed where needed.

    A folder inside another repository becomes a repository of its own. What exists is kept: identity, remotes,
    settings and rules of the user are never overwritten. A new folder may hold ``entityclip.yaml`` beforehand; one
    that is made here is readable by its owner alone.

    Raises:
        ConfigError: The ``entityclip.yaml`` of a folder that is to become a workspace cannot be read.
        WorkspaceError: ``root`` is a file, or a folder with other things in it that is not the top of a repository; or
            DVC's committed config holds credentials.
    """
    # DVC and Git disagree about a path that leads through a symbolic link.
    layout = Layout(root.resolve())
    require_usable(layout)
    try:
        layout.root.parent.mkdir(parents=True, exist_ok=True)
        layout.root.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(f"{layout.root}: cannot be made: {error.strerror}; name another folder") from error
    with translate_disk_full(layout), exclusive(layout):
        repository = _git_repository(layout)
        _dvc_repository(layout, repository)
        _files(layout)
        if repository.git_or_none("symbolic-ref", "-q", "HEAD") is not None:
            made = repository.committed(layout.config) is not None
            message = "Rules and settings as they stand" if made else "Make the workspace"
            repository.commit(message, workspace_files(layout))
    return layout


def workspace_files(layout: Layout) -> list[Path]:
    """What belongs to a workspace beside data, model and reports."""
    dvc = layout.dvc_folder
    top = [layout.root / ".gitignore", layout.root / ".dvcignore", dvc / "config", dvc / ".gitignore"]
    return [*top, layout.dvc_yaml, layout.config, layout.rules]


def require_usable(layout: Layout) -> None:
    """Refuse a file, and a folder with other things in it that is not the top of a repository; see open_workspace."""
    root = layout.root
    if root.exists() and not root.is_dir():
        raise WorkspaceError(f"{root}: is a file; name a folder for the workspace")
    if not root.exists() or (root / ".git").exists():
        return
    ours = {layout.work.name, layout.config.name}
    strangers = sorted(
        p.name for p in root.iterdir() if p.name not in ours and not p.name.startswith(layout.ledger.name)
    )
    if strangers:
        raise WorkspaceError(
            f"{root}: holds {strangers[0]!r} and is not the top of a Git repository; name an empty folder or one with "
            f"nothing but {layout.config.name}, or run `git init` there if it is meant to become a workspace"
        )
    read_config(layout.config)


# ---------------------------------------------------------------- Git
def _git_repository(layout: Layout) -> Repository:
    repository = Repository(layout.root)
    top = repository.git_or_none("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != layout.root.resolve():
        repository.git("init", "--quiet", "--initial-branch", "main")
    for key, value in {"name": "EntityCLIP flows", "email": "flows@entityclip.invalid"}.items():
        configured = repository.git_or_none("config", f"user.{key}") or os.environ.get(f"GIT_COMMITTER_{key.upper()}")
        if not configured:
            repository.git("config", "--local", f"user.{key}", value)
    return repository


# ---------------------------------------------------------------- DVC
def _dvc_repository(layout: Layout, repository: Repository) -> None:
    if not (layout.dvc_folder / "config").exists():
        # A killed run leaves the folder without its config; --force starts again, but would delete a cache too.
        halfway = layout.dvc_folder.exists() and not (layout.dvc_folder / "cache").exists()
        repository.dvc_init(force=halfway)
    repository.dvc(lambda repo: _configure(repo, layout), doing="configuring the workspace")


def _configure(repo: Any, layout: Layout) -> None:
    require_no_credentials(repo, layout)
    wanted = {"analytics": False, "check_update": False, "autostage": True}
    lost = _needs_default_remote(repo)
    if lost or any(repo.config["core"].get(k) is not v for k, v in wanted.items()):
        with repo.config.edit("repo") as config:
            config["core"].update(wanted)
            if lost:
                layout.remote.mkdir(parents=True, exist_ok=True)
                config["core"]["remote"] = REMOTE
                config["remote"][REMOTE] = {"url": _remote_url(layout), "verify": True}
    if "entityclip" not in repo.artifacts.read().get(layout.dvc_yaml.name, {}):
        from dvc.annotations import Artifact

        repo.artifacts.add("entityclip", Artifact(path="model", type="model"), dvcfile=str(layout.dvc_yaml))


def require_no_credentials(repo: Any, layout: Layout) -> None:
    """Refuse a ``.dvc/config``, which is committed, that holds what nobody else may know.

    Raises:
        WorkspaceError: It does; names remote and setting, and never the value.
    """
    for name, settings in repo.config.read("repo").get("remote", {}).items():
        for setting in sorted(_CREDENTIALS & settings.keys()):
            raise WorkspaceError(
                f"{layout.dvc_folder / 'config'}: holds {setting} of remote {name!r}, and this file is committed; "
                f"`dvc remote modify --unset {name} {setting}`, then set it in the environment or with "
                f"`dvc remote modify --local {name} {setting} ...`; if it was committed, have a new one made"
            )


def _needs_default_remote(repo: Any) -> bool:
    """There is none; or ours is not where it was, because the workspace was moved."""
    name = repo.config["core"].get("remote")
    return not name or (name == REMOTE and not Path(repo.config["remote"][name]["url"]).exists())


def _remote_url(layout: Layout) -> str:
    """Absolute, so that a clone elsewhere on this machine pulls from the same folder.

    DVC writes its config in ASCII only; elsewhere the path is relative to the current folder, which DVC translates.
    """
    return str(layout.remote) if str(layout.remote).isascii() else os.path.relpath(layout.remote)


# ---------------------------------------------------------------- files
def _files(layout: Layout) -> None:
    ignore = layout.root / ".gitignore"
    present = ignore.read_text().splitlines() if ignore.exists() else []
    missing = [line for line in _IGNORED if line not in present]
    if missing:
        atomic_write(ignore, "\n".join([*present, *missing]) + "\n")
    if not layout.config.exists():
        atomic_write(layout.config, default_config())
    copy_context(layout.expectations)
