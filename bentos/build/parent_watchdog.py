"""Runs a command that ends with whoever asked for it, however that one ends: ``python tether.py COMMAND ...``.

Standard input is the rope: the system closes it when the process at its other end is no more. A process group would
not do, since BentoML's workers live in sessions of their own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import psutil

STOP_SECONDS = 10.0


def hold(command: list[str]) -> int:
    """Run the command to its end, or to that of standard input; its exit status."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    cut = threading.Event()
    rope = threading.Thread(target=_watch, args=(child, cut), daemon=True)
    rope.start()
    status = child.wait()
    if cut.is_set():
        rope.join()
    return status


def _watch(child: subprocess.Popen[bytes], cut: threading.Event) -> None:
    while os.read(0, 1):  # not through sys.stdin: its lock would be held when Python ends
        pass
    cut.set()
    process = psutil.Process(child.pid)
    family = [process, *process.children(recursive=True)]
    process.terminate()  # it stops its workers itself, when it can
    _, alive = psutil.wait_procs(family[1:], timeout=STOP_SECONDS)
    for left in (*alive, process):
        left.kill()


if __name__ == "__main__":
    sys.exit(hold(sys.argv[1:]))
