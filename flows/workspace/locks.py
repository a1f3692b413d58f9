"""One run at a time in a workspace, one training at a time on a device.

Both are file locks: the system releases them when the process ends, even if it is killed. No server is needed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from entityclip.errors import Busy
from entityclip.paths import Layout, device_lock
from entityclip.settings import RunPolicy, read_config

log = logging.getLogger(__name__)
POLL_SECONDS = 1.0


@contextmanager
def workspace_lock(layout: Layout, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of the workspace. If another run holds it, wait or abort, as ``runs.when_busy`` says.

    Args:
        layout: The workspace.
        wait: False to abort whatever the settings say.

    Raises:
        Busy: Another run holds the lock, and ``runs.when_busy`` is ``drop`` or the wait is over.
    """
    with _held(layout.run_lock, layout, what=f"{layout.root}: another run is at work here", wait=wait):
        yield


@contextmanager
def device_lease(layout: Layout, device: str, *, processes: int = 1) -> Iterator[None]:
    """Hold the lock of this user for training on the device, across workspaces.

    Args:
        layout: The workspace, whose settings say whether to wait.
        device: ``cpu``, ``cuda`` or ``cuda:N``, as in the training settings.
        processes: How many train together. With ``cuda``, each has a GPU, and all of these are locked.

    Raises:
        Busy: Another training holds a lock, and ``runs.when_busy`` is ``drop`` or the wait is over.
    """
    devices = [f"cuda:{number}" for number in range(processes)] if device == "cuda" else [device]
    with ExitStack() as leases:
        for name in sorted(map(physical, devices)):  # in one order, so that no two trainings wait for each other
            leases.enter_context(_held(device_lock(name), layout, what=f"{name}: another training is at work on it"))
        yield


def physical(device: str) -> str:
    """Name of the device behind torch's: ``cuda:0`` is whichever ``CUDA_VISIBLE_DEVICES`` names first."""
    kind, _, number = device.partition(":")
    visible = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
    if kind != "cuda":
        return kind
    index = int(number or 0)
    return f"cuda-{visible[index] if index < len(visible) else index}"


@contextmanager
def _held(path: Path, layout: Layout, *, what: str, wait: bool = True) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(path), path.with_name(f"{path.name}.holder")
    _acquire(lock, read_config(layout.config).runs, what=what, holder=holder, wait=wait)
    try:
        holder.write_text(f"process {os.getpid()} of {layout.root}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _acquire(lock: FileLock, policy: RunPolicy, *, what: str, holder: Path, wait: bool) -> None:
    try:
        lock.acquire(timeout=0)
        return
    except Timeout:
        message = f"{what} ({_read(holder)})"
    if not wait:
        raise Busy(f"{message}; try again when it has ended")
    if policy.when_busy == "drop":
        raise Busy(f"{message}; dropped, as runs.when_busy in entityclip.yaml says")
    log.warning("%s; waiting for it, at most %g hours", message, policy.wait_hours)
    try:
        lock.acquire(timeout=3600 * policy.wait_hours, poll_interval=POLL_SECONDS)
    except Timeout:
        raise Busy(f"{message}; gave up after {policy.wait_hours:g} hours, as runs.wait_hours says") from None


def _read(holder: Path) -> str:
    try:
        return holder.read_text()
    except OSError:  # between the lock and its note
        return "holder unknown"
