"""The temporary server of a run by hand: it exits with its parent, even if the run is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow

SERVED = (
    "import os, time; from flows.platform.prefect_auth import configured_status\n"
    "from flows.platform.ephemeral_server import begin\n"
    "with begin() as answers:\n"
    "    answers(); print(configured_status(os.environ['PREFECT_API_URL']), flush=True); {rest}"
)
CONFIGURED = """
import os
from flows.platform.ephemeral_server import begin
with begin() as answers:
    answers()
    print(os.environ['PREFECT_API_URL'])
"""


def begun(home: Path, *, rest: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_API")}
    command = [sys.executable, "-c", SERVED.format(rest=rest)]
    home = home / "home"
    home.mkdir()
    return subprocess.Popen(command, env=environment | {"PREFECT_HOME": str(home)}, stdout=subprocess.PIPE, text=True)


def test_the_server_ends_with_the_process_that_started_it_even_a_killed_one(tmp_path: Path) -> None:
    parent = begun(tmp_path, rest="time.sleep(600)")
    assert parent.stdout is not None
    assert parent.stdout.readline() == "200\n"
    (server,) = psutil.Process(parent.pid).children()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs([server], timeout=60)
    assert not alive


def test_a_configured_api_is_used_and_nothing_is_started(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            CONFIGURED,
        ],
        env=os.environ | {"PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": "http://127.0.0.1:9/api"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "http://127.0.0.1:9/api\n"
    assert not (tmp_path / "prefect.db").exists()
