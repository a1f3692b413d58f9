"""Tells stale lock files of killed runs from those of living processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil

log = logging.getLogger("entityclip.repository")

_CLOCK_SECONDS = 2.0
"""Tolerance between a file's time and a process's start time: file systems round times."""


def abandoned(paths: Iterable[Path], *, root: Path) -> Iterator[Path]:
    """Those of ``paths`` that no living process may hold.

    A process may hold a lock if it has the file open, or if it is a Git command at work in ``root``: while a person
    writes the message of a commit, Git keeps its lock without having it open.

    Args:
        paths: Lock files that existed a moment ago.
        root: Top folder of the repository that they belong to.
    """
    found = {path: stamp for path in paths if (stamp := _stamp(path))}
    processes = list(_processes()) if found else []  # listed after the files: a holder is alive at both moments
    for path, stamp in found.items():
        holder = next((p for p in processes if _may_hold(p, path, root=root, since=stamp[2])), None)
        if holder:
            log.warning("%s: kept; process %s (%s) may hold it", path, holder["pid"], holder["name"])
        elif _stamp(path) == stamp:
            yield path


def _stamp(path: Path) -> tuple[int, int, float] | None:
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_mtime


def _processes() -> Iterator[dict[str, Any]]:
    """Facts about each process; None for those that another account does not show."""
    known = ["pid", "name", "status", "create_time", "cwd", "cmdline", "open_files"]
    for process in psutil.process_iter(known):
        if process.pid != os.getpid() and process.info["status"] != psutil.STATUS_ZOMBIE:
            yield process.info


def _may_hold(process: dict[str, Any], path: Path, *, root: Path, since: float) -> bool:
    if (process["create_time"] or 0.0) > since + _CLOCK_SECONDS:
        return False
    opened = [Path(file.path) for file in process["open_files"] or ()]
    if path in opened:
        return True
    name = process["name"] or ""
    if name != "git" and not name.startswith("git-"):
        return False
    cwd = process["cwd"]
    return (
        not cwd  # a process of another account, whose folder is unknown
        or Path(cwd).is_relative_to(root)
        or any(file.is_relative_to(root / ".git") for file in opened)
        or any(str(root) in argument for argument in process["cmdline"] or ())
    )
