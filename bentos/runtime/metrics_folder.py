"""A metrics folder per server, shared by its workers.

BentoML uses one folder for all servers of a store and empties it whenever one of them starts.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path

import psutil
from filelock import FileLock

from entityclip.paths import StoreLayout

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Variable from which prometheus_client reads the folder; BentoML sets it only for workers."""

SHARED = "prometheus_multiproc_dir"
"""Name of BentoML's folder in BENTOML_HOME. If that is not writable, BentoML uses a temporary folder."""

CLOCK_SECONDS = 5.0
"""Tolerance between the clock of the file system and that of the machine."""

OTHERS_SECONDS = 30 * 86400.0
"""Age at which the folder of a server on another machine is deleted, because its process cannot be checked."""


def use_own_folder() -> None:
    """In a worker, use the folder of this server; call it before the first metric is created.

    The folder belongs to the worker's parent process, so that a restarted worker continues its counters.
    """
    shared = Path(os.environ.get(VARIABLE, ""))
    if shared.name == SHARED:
        os.environ[VARIABLE] = str(claim(StoreLayout(shared.parent), server=os.getppid()))


def claim(store: StoreLayout, *, server: int) -> Path:
    """The folder of the server with this process id; deletes the folders of servers that have ended."""
    folder = store.metrics(f"{socket.gethostname()}-{server}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(store.metrics(".lock")):
        for other in folder.parent.iterdir():
            if other.is_dir() and _ended(other):
                shutil.rmtree(other, ignore_errors=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _ended(folder: Path) -> bool:
    """Whether the server of this folder has ended; its process id may have been reused."""
    host, _, server = folder.name.rpartition("-")
    try:
        if host != socket.gethostname():
            newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            return time.time() - newest > OTHERS_SECONDS
        return folder.stat().st_mtime < psutil.Process(int(server)).create_time() - CLOCK_SECONDS
    except (psutil.NoSuchProcess, ValueError):
        return True
    except OSError:  # a file vanished during the check, so the folder is in use
        return False
