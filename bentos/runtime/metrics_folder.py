"""Where the workers of one server keep their metrics: a folder that no other server touches.

BentoML gives every server of a store the same folder, and empties it whenever one of them starts.
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
"""Where prometheus_client looks for the folder; BentoML sets it for workers alone."""

SHARED = "prometheus_multiproc_dir"
"""Name of BentoML's folder in BENTOML_HOME. It takes another one, of a fresh name, where it cannot write there."""

CLOCK_SECONDS = 5.0
"""By which the clock of a file system may differ from that of the machine."""

OTHERS_SECONDS = 30 * 86400.0
"""Another machine cannot see whether a server still runs: its folder is kept until it has been silent for so long."""


def use_own_folder() -> None:
    """In a worker, count in a folder of this server; call it before the first metric is made.

    The server is the worker's parent process, so that a worker that is started again counts on.
    """
    shared = Path(os.environ.get(VARIABLE, ""))
    if shared.name == SHARED:
        os.environ[VARIABLE] = str(claim(StoreLayout(shared.parent), server=os.getppid()))


def claim(store: StoreLayout, *, server: int) -> Path:
    """The folder of the server with this process id on this machine; those of servers that ended are deleted."""
    folder = store.metrics(f"{socket.gethostname()}-{server}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(store.metrics(".lock")):
        for other in folder.parent.iterdir():
            if other.is_dir() and _ended(other):
                shutil.rmtree(other, ignore_errors=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _ended(folder: Path) -> bool:
    """Whether the server of this folder is gone; its process id may belong to another process by now."""
    host, _, server = folder.name.rpartition("-")
    try:
        if host != socket.gethostname():
            newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            return time.time() - newest > OTHERS_SECONDS
        return folder.stat().st_mtime < psutil.Process(int(server)).create_time() - CLOCK_SECONDS
    except (psutil.NoSuchProcess, ValueError):
        return True
    except OSError:  # a file went while it was looked at, so somebody works there
        return False
