"""Checks installation and workspace and gives remedies: ``entityclip doctor --workspace DIR``.

The checks commit nothing. One of them writes a probe to the DVC remote, reads it back and deletes it. A check that
raises an unexpected error counts as failed.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import httpx

from entityclip.data import resources
from entityclip.errors import EntityClipError, WorkspaceError
from entityclip.paths import Layout
from entityclip.schemas import Record
from entityclip.settings import read_config
from flows.platform.prefect_auth import configured_status, export_hint, status
from flows.workspace.create import require_no_credentials
from flows.workspace.dvc_remote import probe
from flows.workspace.repository import Repository

FREE_GB = 10.0
"""A first run of the demo needs about 1 GB; a run that fills the disk fails."""
SECONDS = 10.0
State = Literal["fine", "note", "wrong"]


class Finding(Record):
    """Result of one check."""

    what: str
    state: State
    saw: str
    remedy: str = ""


def examine(layout: Layout) -> tuple[Finding, ...]:
    """Run every check, in the order of their dependencies."""
    checks: tuple[tuple[str, Callable[[Layout], Finding]], ...] = (
        ("Python", lambda _: python()),
        ("versions", lambda _: versions()),
        ("Git", git),
        ("settings", settings),
        ("time zone", timezone),
        ("DVC remote", remote),
        ("Prefect API", prefect),
        ("device", lambda _: device()),
        ("disk", disk),
        ("LLM server", llm),
    )
    return tuple(_checked(what, check, layout) for what, check in checks)


def _checked(what: str, check: Callable[[Layout], Finding], layout: Layout) -> Finding:
    try:
        return check(layout)
    except EntityClipError as error:
        return Finding(what=what, state="wrong", saw=str(error), remedy="follow the message")
    except Exception as error:  # a check that raises has failed
        return Finding(
            what=what, state="wrong", saw=f"{type(error).__name__}: {error}", remedy="run `make setup` again"
        )


# ---------------------------------------------------------------- the machine
def python() -> Finding:
    """Python is 3.11 or later."""
    saw = f"{sys.version.split()[0]} at {sys.executable}"
    old = sys.version_info < (3, 11)
    return Finding(what="Python", state="wrong" if old else "fine", saw=saw, remedy="make setup PYTHON=python3.11")


def versions() -> Finding:
    """Every installed library satisfies this project's requirements, which pip does not check."""
    from packaging.requirements import Requirement

    wrong = []
    for text in importlib.metadata.requires("entityclip") or []:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": "platform"}):
            continue
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            found = ""
        if not found or not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{wanted.name} is {found or 'missing'}, wanted {wanted.specifier or 'any'}")
    saw = "; ".join(wrong) or "all libraries satisfy pyproject.toml"
    return Finding(what="versions", state="wrong" if wrong else "fine", saw=saw, remedy="make setup")


def device() -> Finding:
    """GPUs that torch sees, and whether the first one computes."""
    import torch

    if not torch.cuda.is_available():
        remedy = "if there is a GPU, install its driver and a matching build of torch"
        return Finding(
            what="device",
            state="note",
            saw=f"no GPU; {resources.cores()} CPU cores, {resources.memory() / 1e9:.1f} GB of memory",
            remedy=remedy,
        )
    named = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    computes = float(torch.ones(8, device="cuda").sum()) == 8
    remedy = "the driver does not match this torch: check nvidia-smi, then reinstall one of them"
    return Finding(what="device", state="fine" if computes else "wrong", saw=named, remedy=remedy)


def disk(layout: Layout) -> Finding:
    """Free space on the disk of the workspace."""
    place = next(folder for folder in (layout.root, *layout.root.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free / 1e9
    low = free < FREE_GB or not os.access(place, os.W_OK)
    saw = f"{free:.0f} GB free at {place}{'' if os.access(place, os.W_OK) else ', which cannot be written'}"
    remedy = f"free some space: entityclip collect --workspace {layout.root} --delete"
    return Finding(what="disk", state="wrong" if low else "fine", saw=saw, remedy=remedy)


# ---------------------------------------------------------------- the workspace
def git(layout: Layout) -> Finding:
    """Git is installed; the workspace has an identity to commit with and a branch to commit to."""
    if not (layout.root / ".git").exists():
        done = subprocess.run(["git", "--version"], capture_output=True, text=True)
        remedy = f"the first run creates it: entityclip run --workspace {layout.root}"
        return Finding(what="Git", state="note", saw=f"{done.stdout.strip()}; no workspace yet", remedy=remedy)
    repository = Repository(layout.root)
    identity = repository.git_or_none("var", "GIT_COMMITTER_IDENT")
    if identity is None:
        remedy = f"git -C {layout.root} config user.name NAME; git -C {layout.root} config user.email MAIL"
        return Finding(what="Git", state="wrong", saw="no identity to commit with is configured", remedy=remedy)
    branch = repository.git_or_none("symbolic-ref", "--short", "HEAD")
    if branch is None:
        remedy = f"git -C {layout.root} switch main"
        return Finding(what="Git", state="wrong", saw="HEAD is detached, so commits would be lost", remedy=remedy)
    return Finding(what="Git", state="fine", saw=f"{identity.rpartition('>')[0]}> on {branch}")


def settings(layout: Layout) -> Finding:
    """``entityclip.yaml`` can be read."""
    read_config(layout.config)
    return Finding(what="settings", state="fine", saw=str(layout.config) if layout.config.exists() else "the defaults")


def timezone(layout: Layout) -> Finding:
    """Time zone of the schedules, and the current time there."""
    zone = read_config(layout.config).runs.timezone
    now = datetime.now(ZoneInfo(zone))
    saw = f"{zone}, where it is {now:%H:%M} now; `retrain/nightly` starts at 02:00 there"
    remedy = f"set runs.timezone in {layout.config}, then `make up` or entityclip deploy"
    return Finding(what="time zone", state="fine" if zone != "UTC" else "note", saw=saw, remedy=remedy)


def remote(layout: Layout) -> Finding:
    """A probe is written to the default remote, read back and deleted."""
    if not (layout.dvc_folder / "config").exists():
        return Finding(what="DVC remote", state="note", saw="no workspace yet")

    def work(repo: Any) -> Finding:
        name = repo.config["core"].get("remote")
        if not name:
            remedy = "dvc remote add --default NAME URL"
            return Finding(what="DVC remote", state="wrong", saw="there is no default remote", remedy=remedy)
        require_no_credentials(repo, layout)
        store = repo.cloud.get_remote_odb(name)
        if store.fs.protocol == "local" and not Path(store.path).parent.parent.is_dir():
            remedy = "mount the disk, or create the folder if it is new"
            return Finding(what="DVC remote", state="wrong", saw=f"{name}: its folder is missing", remedy=remedy)
        probe(store)
        saw = f"{name} ({store.fs.protocol}): written, read and deleted"
        inside = store.fs.protocol == "local" and Path(store.path).is_relative_to(layout.root)
        remedy = "it is no backup: add another DVC remote, see docs/operations.md"
        return Finding(what="DVC remote", state="note" if inside else "fine", saw=saw, remedy=remedy if inside else "")

    try:
        return Repository(layout.root).dvc(work, doing="probing the default remote")
    except WorkspaceError as error:
        remedy = "start its server or correct its address; credentials belong into the environment, see docs/scaling.md"
        return Finding(what="DVC remote", state="wrong", saw=str(error), remedy=remedy)


# ---------------------------------------------------------------- servers
def prefect(layout: Layout) -> Finding:
    """The API of ``PREFECT_API_URL`` answers this process and requires access; without it, each run starts its own."""
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        remedy = f"for schedules and triggers: entityclip up --workspace {layout.root}"
        return Finding(what="Prefect API", state="note", saw="none; every run starts its own", remedy=remedy)
    answer = _get(f"{url}/health")
    saw, remedy = f"{url}: {answer}", "start the server, or unset PREFECT_API_URL"
    fine = answer.startswith("200")
    if fine and status(url) == 200:
        fine, saw = False, f"{url}: runs commands for everyone who can reach it"
        remedy = "set PREFECT_SERVER_API_AUTH_STRING where it starts; `make up` does"
    elif fine and configured_status(url) in (401, 403):
        fine, saw, remedy = False, f"{url}: refuses this process", export_hint(layout.prefect_auth)
    return Finding(what="Prefect API", state="fine" if fine else "wrong", saw=saw, remedy=remedy)


def llm(layout: Layout) -> Finding:
    """The language-model server, if the workspace uses one; only its list of models is requested."""
    writer = read_config(layout.config).explain
    if writer.writer != "openai":
        return Finding(what="LLM server", state="fine", saw=f"none is needed: the writer is {writer.writer!r}")
    key = os.environ.get(writer.api_key_env, "") if writer.api_key_env else ""
    if writer.api_key_env and not key:
        remedy = f"export {writer.api_key_env}=..."
        return Finding(what="LLM server", state="wrong", saw=f"{writer.api_key_env} is not set", remedy=remedy)
    answer = _get(f"{writer.base_url.rstrip('/')}/models", headers={"Authorization": f"Bearer {key}"} if key else {})
    fine = answer.startswith("200")
    remedy = "start the server, or correct explain.base_url in entityclip.yaml"
    return Finding(
        what="LLM server", state="fine" if fine else "wrong", saw=f"{writer.base_url}: {answer}", remedy=remedy
    )


def _get(url: str, *, headers: dict[str, str] | None = None) -> str:
    """Status of the response, or the kind of error; never the request."""
    try:
        return f"{httpx.get(url, headers=headers, timeout=SECONDS).status_code}"
    except httpx.HTTPError as error:
        return type(error).__name__
