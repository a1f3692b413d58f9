"""Runs a command and stops it if the parent process dies: ``python parent_watchdog.py COMMAND ...``.

Stops the command when standard input closes, which means that the parent is gone. A process group does not suffice,
because BentoML's workers run in their own sessions.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import psutil

STOP_SECONDS = 10.0


def watch(command: list[str]) -> int:
    """Run the command until it ends or standard input closes. Returns its exit status."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    parent_gone = threading.Event()
    watcher = threading.Thread(target=_stop_with_parent, args=(child, parent_gone), daemon=True)
    watcher.start()
    status = child.wait()
    if parent_gone.is_set():
        watcher.join()
    return status


def _stop_with_parent(child: subprocess.Popen[bytes], parent_gone: threading.Event) -> None:
    while os.read(0, 1):  # not sys.stdin: its lock would still be held when Python exits
        pass
    parent_gone.set()
    process = psutil.Process(child.pid)
    family = [process, *process.children(recursive=True)]
    process.terminate()  # normally it stops its workers itself
    _, alive = psutil.wait_procs(family[1:], timeout=STOP_SECONDS)
    for left in (*alive, process):
        left.kill()


if __name__ == "__main__":
    sys.exit(watch(sys.argv[1:]))
