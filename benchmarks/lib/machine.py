"""Facts that every benchmark adds to its figures: machine, versions, commit, command."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from entityclip.data import resources

LIBRARIES = ("torch", "open_clip_torch", "prefect", "dvc", "great_expectations", "bentoml")


def facts() -> dict[str, Any]:
    """Machine, versions, commit and command of this process."""
    here = Path(__file__).parent
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    return {
        "machine": f"{resources.processor()}, {resources.cores()} cores",
        "python": platform.python_version(),
        "versions": dict(_versions()),
        "commit": head.stdout.strip() or None,
        "command": " ".join(["python", *sys.argv]),
    }


def _versions() -> Iterator[tuple[str, str]]:
    """Versions of the installed libraries; a training step needs only the first two."""
    for name in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            yield name, importlib.metadata.version(name)


def peak_gib() -> float:
    """Peak memory of this process so far, GiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
