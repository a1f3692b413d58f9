"""What each worker has made of the decision in ``live.json``: written by the worker, read by the command that decides.

A worker holds a lock for as long as it lives, so that a worker that was killed is not waited for.
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

SWITCH_SECONDS = 120.0
"""Until a switch that some worker has not followed is a failure."""

GIVEN_UP = 3
"""Failed attempts of one worker after which a switch is not waited for any longer; the worker goes on trying."""

LOOK_SECONDS = 0.1

Stamp = tuple[int, int]
"""Inode and modification time of ``live.json``: two decisions never have the same."""


class Follower(Record):
    """What one worker has made of the last decision that it tried."""

    seen: Stamp | None = Field(description="Which decision; None: there was none, so that the service's own answers.")
    release: str = Field(description="Version of the release that answers.")
    failed: str = Field(default="", description="Why the decided one does not answer; '' when it does.")
    attempts: int = Field(default=1, ge=0, description="How often it was tried.")


def stamp(state: StateLayout) -> Stamp | None:
    """Which decision is in force; None where none is."""
    try:
        about = state.live.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns


# ---------------------------------------------------------------- the worker
class Status:
    """One worker's file in the folder ``followers``; it counts as long as the process lives.

    Raises:
        OSError: The folder cannot be written.
    """

    def __init__(self, state: StateLayout) -> None:
        state.followers.mkdir(parents=True, exist_ok=True)
        _remove_dead(state.followers)
        self._path = state.followers / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
        self._lock = _locked(self._path.with_suffix(".lock"))

    def write(self, follower: Follower) -> None:
        """Replace what was written before."""
        follower.write(self._path)


def _locked(path: Path) -> TextIO:
    """A new file that this process alone has locked; a worker that starts may remove it before it is locked."""
    while True:
        file = path.open("w")
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
    """Every worker that answers, by its name: process id and a random part."""
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
    """Decide which release answers, and wait until it does in every worker of every service on this state.

    Args:
        state: The services' state.
        decide: Writes the decision: ``live.switch`` and the like.
        seconds: How long workers are waited for; 0 for not at all.
        take_back: Whether the decision before is put back where this one cannot be followed.

    Returns:
        The decision, and how many workers follow it; 0 where no service runs, or none was waited for.

    Raises:
        SwitchError: A worker cannot follow; carries each one's reason.
        ConfigError, DataError: As ``decide``.
    """
    before = None
    with suppress(ConfigError):  # a damaged decision is none
        before = active_release.read(state)
    decided = decide()
    wanted = stamp(state)
    try:
        return decided, _wait(state, wanted, seconds=seconds) if seconds else 0
    except SwitchError as error:
        if not take_back or stamp(state) != wanted:
            raise SwitchError(f"{error}; the decision stands, and the workers try again") from None
        active_release.put_back(state, before)
        raise SwitchError(f"{error}; the decision was taken back, and the release before answers") from None


def _wait(state: StateLayout, wanted: Stamp | None, *, seconds: float) -> int:
    """How many workers answer with what was decided, once all of them do."""
    end = time.monotonic() + seconds
    while True:
        workers = living(state)
        late = {name: worker for name, worker in workers.items() if worker.seen != wanted or worker.failed}
        if not late:
            return len(workers)
        if stamp(state) != wanted:
            raise SwitchError(f"{state.live}: another decision came before every worker had followed this one")
        given_up = any(worker.seen == wanted and worker.attempts >= GIVEN_UP for worker in late.values())
        if given_up or time.monotonic() > end:
            raise SwitchError(f"{len(late)} of {len(workers)} workers do not answer with it: {_reasons(late, wanted)}")
        time.sleep(LOOK_SECONDS)


def _reasons(late: Mapping[str, Follower], wanted: Stamp | None) -> str:
    """Why each is late; what several have in common once."""
    reasons: dict[str, list[str]] = {}
    for name, worker in late.items():
        reason = worker.failed if worker.seen == wanted else f"still answers with {worker.release}"
        reasons.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
