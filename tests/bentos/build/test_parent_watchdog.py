"""The watchdog stops its command when the parent process is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

import bentos

WATCHDOG = str(Path(bentos.__file__).with_name("build") / "parent_watchdog.py")
COMMAND_WITH_CHILD = (
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], "
    "start_new_session=True); print('up', flush=True); time.sleep(600)"
)
PARENT = (
    "import subprocess, sys, time; child = subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.PIPE); "
    "time.sleep(600)"
)


def test_the_command_and_its_children_end_when_the_parent_is_killed() -> None:
    command = [sys.executable, "-c", PARENT, WATCHDOG, sys.executable, "-c", COMMAND_WITH_CHILD]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n"
    family = psutil.Process(parent.pid).children(recursive=True)
    assert len(family) == 3  # the watchdog, the command, and its child in its own session
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive


def test_the_watchdog_returns_the_exit_status_of_the_command() -> None:
    command = [sys.executable, WATCHDOG, sys.executable, "-c", "exit(7)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as held:
        assert held.wait() == 7
