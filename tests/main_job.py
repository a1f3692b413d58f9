"""The main job in a process of its own, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect_homes import prefect_home

MINUTES = 60.0


def command(workspace: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "entityclip", "run", "--preset", "tiny", "--workspace", str(workspace), *arguments]


def environment(home: Path) -> dict[str, str]:
    return os.environ | {"PREFECT_HOME": str(prefect_home(home)), "HOME": str(home), "OMP_NUM_THREADS": "1"}


def retrain(
    workspace: Path, *arguments: str, state: Path | None = None, inside: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the main job in a home of its own: no Git identity, no Prefect profile, nothing to lean on.

    ``state`` is the state folder of a service; by default there is none. ``inside`` stands before the command.
    """
    service = {} if state is None else {"ENTITYCLIP_STATE": str(state)}
    return subprocess.run(
        [*inside, *command(workspace, *arguments)],
        env=environment(workspace.parent / "home") | service,
        capture_output=True,
        text=True,
        timeout=10 * MINUTES,
        check=False,
    )


def last_line(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr[-4000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
