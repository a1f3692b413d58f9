"""Commands in a network namespace of their own, where nothing but this machine can be reached."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

_BEGIN = """
import fcntl, os, socket, struct, sys
UP, SIOCSIFFLAGS = 0x1, 0x8914
fcntl.ioctl(socket.socket(), SIOCSIFFLAGS, struct.pack("16sh", b"lo", UP))  # a new namespace begins without loopback
os.execvp(sys.argv[1], sys.argv[1:])
"""


def without_network() -> list[str]:
    """What stands before a command; skips the test where no namespace can be made."""
    prefix = ["unshare", "--map-root-user", "--net", sys.executable, "-c", _BEGIN]
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs unshare (util-linux), and a kernel that lets this user make a network namespace")
    return prefix
