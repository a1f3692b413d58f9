"""The commands of examples/README.md, run as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from prefect_homes import prefect_home

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
_SECTION = re.compile(r"^## (.+?)$(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
_SHELL = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)


def commands(section: str) -> str:
    """The shell commands in a section of examples/README.md."""
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    (body,) = (body for title, body in _SECTION.findall(text) if title == section)
    return "".join(_SHELL.findall(body))


def run(script: str, folder: Path, *, inside: Sequence[str] = (), **variables: str) -> str:
    """Standard output of shell commands that run in ``folder``, which gets a link to the examples; ``inside`` stands
    before the shell.
    """
    if not (folder / "examples").exists():
        (folder / "examples").symlink_to(EXAMPLES)
    prefect_home(folder / ".prefect")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "HOME": str(folder), "OMP_NUM_THREADS": "1"} | variables
    done = subprocess.run(
        [*inside, "bash", "-euc", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout
