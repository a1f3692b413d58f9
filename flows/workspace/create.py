"""Creates a workspace: a folder that is a Git and DVC repository of its own.

Every step checks first whether it is done, so after a kill the next run completes what is missing.
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
    # Those of DVC are here from the start: `dvc add` would write them, and a run killed before its commit leave them.
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
"""Settings of DVC remotes that are secret."""


def open_workspace(root: Path) -> Layout:
    """Open the workspace at ``root``; create or complete it if needed.

    A folder inside another repository becomes a repository of its own. Existing identity, remotes, settings and rules
    are never overwritten. A new folder may already hold ``entityclip.yaml``. A folder created here can be read only
    by its owner.

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
        raise WorkspaceError(f"{layout.root}: cannot be created: {error.strerror}; name another folder") from error
    with translate_disk_full(layout), exclusive(layout):
        repository = _git_repository(layout)
        _dvc_repository(layout, repository)
        _files(layout)
        if repository.git_or_none("symbolic-ref", "-q", "HEAD") is not None:
            made = repository.committed(layout.config) is not None
            message = "Update rules and settings" if made else "Create the workspace"
            repository.commit(message, workspace_files(layout))
    return layout


def workspace_files(layout: Layout) -> list[Path]:
    """Tracked files of a workspace apart from data, model and reports."""
    dvc = layout.dvc_folder
    top = [layout.root / ".gitignore", layout.root / ".dvcignore", dvc / "config", dvc / ".gitignore"]
    return [*top, layout.dvc_yaml, layout.config, layout.rules]


def require_usable(layout: Layout) -> None:
    """Refuse a file, and a folder that holds other files and is not the top of a repository; see ``open_workspace``."""
    root = layout.root
    if root.exists() and not root.is_dir():
        raise WorkspaceError(f"{root}: is a file; name a folder for the workspace")
    if not root.exists() or (root / ".git").exists():
        return
    ours = {layout.work.name, layout.config.name, layout.criteria.name}
    others = sorted(p.name for p in root.iterdir() if p.name not in ours and not p.name.startswith(layout.ledger.name))
    if others:
        raise WorkspaceError(
            f"{root}: holds {others[0]!r} and is not the top of a Git repository; name an empty folder or one with "
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
        # A killed run leaves the folder without a config. --force repairs it, but deletes a cache, so only without one.
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
    """Refuse credentials in ``.dvc/config``, which is committed.

    Raises:
        WorkspaceError: The file holds credentials; names remote and setting, never the value.
    """
    for name, settings in repo.config.read("repo").get("remote", {}).items():
        for setting in sorted(_CREDENTIALS & settings.keys()):
            raise WorkspaceError(
                f"{layout.dvc_folder / 'config'}: holds {setting} of remote {name!r}, and this file is committed; "
                f"`dvc remote modify --unset {name} {setting}`, then set it in the environment or with "
                f"`dvc remote modify --local {name} {setting} ...`; if it was committed, replace the credential"
            )


def _needs_default_remote(repo: Any) -> bool:
    """True without a default remote, or if the workspace, and the remote in it, was moved."""
    name = repo.config["core"].get("remote")
    return not name or (name == REMOTE and not Path(repo.config["remote"][name]["url"]).exists())


def _remote_url(layout: Layout) -> str:
    """Absolute path, so that a clone elsewhere on this machine pulls from the same folder.

    DVC writes its config in ASCII; other paths are given relative to the current folder, which DVC translates.
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
