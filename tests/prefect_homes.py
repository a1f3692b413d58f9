"""Folders for Prefect with its empty database, which is made once: Prefect takes seconds to make one."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
_SHARED = Path(tempfile.gettempdir()) / f"entityclip-tests-prefect-{_RUN}"
"""For all processes of one run of the tests."""


def prefect_home(home: Path) -> Path:
    """The folder ``home``, with the database that Prefect would make at its first start."""
    home.mkdir(parents=True, exist_ok=True)
    if not (database := home / "prefect.db").exists():
        shutil.copyfile(_empty_database(), database)
    return home


def _empty_database() -> Path:
    _SHARED.mkdir(mode=0o700, exist_ok=True)
    atexit.register(shutil.rmtree, _SHARED, ignore_errors=True)
    database = _SHARED / "home" / "prefect.db"
    with FileLock(_SHARED / "lock"):
        if not database.exists():
            environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
            making = environment | {"PREFECT_HOME": str(_SHARED / "making")}
            command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
            subprocess.run(command, env=making, check=True, capture_output=True, timeout=300)
            (_SHARED / "making").rename(database.parent)
    return database
