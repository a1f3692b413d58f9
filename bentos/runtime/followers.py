"""State of each worker with regard to the decision in ``live.json``; written by workers, read by the deciding command.

Each worker holds a file lock while it lives, so that a command does not wait for a worker that was killed.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from pydantic import Field

from bentos.runtime import active_release
from bentos.runtime.active_release import Live
from entityclip.errors import ConfigError, SwitchError
from entityclip.paths import StateLayout
from entityclip.schemas import Record
from entityclip.storage import PRIVATE_FILE, private_folder

SWITCH_SECONDS = 120.0
"""Timeout until every worker must have loaded the decided release."""

GIVEN_UP = 3
"""Failed attempts of one worker after which the command stops waiting. The worker keeps retrying."""

LOOK_SECONDS = 0.1

Stamp = tuple[int, int]
"""Inode and modification time of ``live.json``; unique for each decision."""


class Follower(Record):
    """Result of the last decision that a worker tried to apply."""

    seen: Stamp | None = Field(description="Stamp of the decision; None if there is none.")
    release: str = Field(description="Version of the release that it serves.")
    failed: str = Field(default="", description="Why it does not serve the decided release; '' if it does.")
    attempts: int = Field(default=1, ge=0, description="Number of attempts.")


def stamp(state: StateLayout) -> Stamp | None:
    """Stamp of the current decision; None if there is none."""
    try:
        about = state.live.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns


# ---------------------------------------------------------------- the worker
class Status:
    """This worker's status file in the folder ``followers``; valid while the process lives.

    Raises:
        OSError: The folder is not writable.
    """

    def __init__(self, state: StateLayout) -> None:
        private_folder(state.followers)
        _remove_dead(state.followers)
        self._path = state.followers / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
        self._lock = _locked(self._path.with_suffix(".lock"))

    def write(self, follower: Follower) -> None:
        """Replace the status."""
        follower.write(self._path, mode=PRIVATE_FILE)


def _locked(path: Path) -> TextIO:
    """A new file with an exclusive lock. Retries, because a starting worker may delete the file before it is locked."""
    while True:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, PRIVATE_FILE), "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()


def _remove_dead(folder: Path) -> None:
    for lock in folder.glob("*.lock"):
        if not _held(lock):
            lock.with_suffix(".json").unlink(missing_ok=True)
            lock.unlink(missing_ok=True)


def _held(lock: Path) -> bool:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


# ---------------------------------------------------------------- the command
def living(state: StateLayout) -> dict[str, Follower]:
    """Name (process id and a random part) -> status of every running worker."""
    found = {}
    for lock in sorted(state.followers.glob("*.lock")):
        if _held(lock) and (follower := Follower.read(lock.with_suffix(".json"))) is not None:
            found[lock.stem] = follower
    return found


def carry_out(
    state: StateLayout,
    decide: Callable[[], Live | None],
    *,
    seconds: float = SWITCH_SECONDS,
    take_back: bool = True,
) -> tuple[Live | None, int]:
    """Write a decision, and wait until every worker of every service on this state has applied it.

    Args:
        state: State folder of the services.
        decide: Writes the decision, such as ``active_release.switch``.
        seconds: Timeout; 0 does not wait.
        take_back: Whether to restore the previous decision if a worker cannot apply this one.

    Returns:
        The decision and the number of workers that applied it; 0 if no service runs or ``seconds`` is 0.

    Raises:
        SwitchError: A worker cannot apply it; the message holds each worker's reason.
        ConfigError, DataError: Raised by ``decide``.
    """
    before = None
    with active_release.locked(state):
        with suppress(ConfigError):  # a damaged decision counts as none
            before = active_release.read(state)
        decided = decide()
        wanted = stamp(state)
    try:
        return decided, _wait(state, wanted, seconds=seconds) if seconds else 0
    except SwitchError as error:
        with active_release.locked(state):
            if not take_back or stamp(state) != wanted:
                raise SwitchError(f"{error}; the decision stands, and the workers keep retrying") from None
            active_release.put_back(state, before)
        raise SwitchError(f"{error}; the decision was reverted, and the previous release stays active") from None


def _wait(state: StateLayout, wanted: Stamp | None, *, seconds: float) -> int:
    """Number of workers, once all of them have applied the decision."""
    end = time.monotonic() + seconds
    while True:
        workers = living(state)
        late = {name: worker for name, worker in workers.items() if worker.seen != wanted or worker.failed}
        if not late:
            return len(workers)
        if stamp(state) != wanted:
            raise SwitchError(f"{state.live}: another decision replaced this one before every worker had applied it")
        given_up = any(worker.seen == wanted and worker.attempts >= GIVEN_UP for worker in late.values())
        if given_up or time.monotonic() > end:
            raise SwitchError(f"{len(late)} of {len(workers)} workers do not serve it: {_reasons(late, wanted)}")
        time.sleep(LOOK_SECONDS)


def _reasons(late: Mapping[str, Follower], wanted: Stamp | None) -> str:
    """Reasons of the workers, each reason once."""
    reasons: dict[str, list[str]] = {}
    for name, worker in late.items():
        reason = worker.failed if worker.seen == wanted else f"still serves {worker.release}"
        reasons.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
