"""What is held by a tether ends when the other end is let go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

import bentos

TETHER = str(Path(bentos.__file__).with_name("tether.py"))
FAMILY = (
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], "
    "start_new_session=True); print('up', flush=True); time.sleep(600)"
)
HOLDER = (
    "import subprocess, sys, time; held = subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.PIPE); "
    "time.sleep(600)"
)


def test_a_killed_holder_takes_the_command_and_its_children_with_it() -> None:
    command = [sys.executable, "-c", HOLDER, TETHER, sys.executable, "-c", FAMILY]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "up\n"
    family = psutil.Process(holder.pid).children(recursive=True)
    assert len(family) == 3  # the tether, the command, its child in a session of its own
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive


def test_the_commands_own_end_is_the_tethers_end() -> None:
    command = [sys.executable, TETHER, sys.executable, "-c", "exit(7)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as held:
        assert held.wait() == 7
