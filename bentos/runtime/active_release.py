"""The active release: written by an operator's command or a flow, read by every worker.

A switch renames one small file into place. Each worker loads the new release beside the old one, checks that it finds
one of its own entities, and then sends new requests to it. Requests in work finish on the old release.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock
from pydantic import Field, ValidationError

from bentos.runtime.manifest import verify_files
from bentos.runtime.signatures import require_signed
from entityclip.errors import ConfigError, faults
from entityclip.paths import PackageLayout, StateLayout
from entityclip.schemas import PackageCard, Record
from entityclip.storage import PRIVATE_FILE, private_folder

log = logging.getLogger("entityclip.releases")


class Canary(Record):
    """A challenger whose answers a share of the callers gets for a time."""

    id: str = Field(description="Random; also decides which callers are in the share.")
    callers: frozenset[str] = Field(description="Keys in the share when it began.")
    others: frozenset[str] = Field(description="Keys that were not in it when it began.")
    share: float = Field(gt=0, le=1, description="Probability of a later key to be in the share.")
    until: datetime = Field(description="When it ends.")
    min_requests: int = Field(ge=1, description="Compared requests without which it does not end in an activation.")

    def includes(self, caller: str) -> bool:
        """Whether a caller is in the share; the same for every worker and request."""
        listed = caller in self.callers or caller in self.others
        return caller in self.callers if listed else canary_number(self.id, caller) < self.share


def canary_number(canary_id: str, caller: str) -> float:
    """A number of the caller, uniform from 0 to 1 over callers, and another one in each canary."""
    return int.from_bytes(hashlib.sha256(f"{canary_id}:{caller}".encode()).digest()[:8]) / 2**64


class Live(Record):
    """Package folders of the releases in use; BentoML stores them under ``models/entityclip-model/VERSION``."""

    champion: Path = Field(description="Serves requests.")
    previous: Path | None = Field(
        default=None,
        description="Served requests before and stays in memory; None: the release packed with the service.",
    )
    challenger: Path | None = Field(default=None, description="Runs in the shadow on a share of the requests.")
    share: float = Field(default=0.0, ge=0, le=1, description="Share of search and tag requests for the challenger.")
    canary: Canary | None = Field(default=None, description="Set while callers get the challenger's answers.")


@contextmanager
def locked(state: StateLayout) -> Iterator[None]:
    """No other process or thread replaces the decision during the block; blocks of one thread may be nested."""
    private_folder(state.root)
    with FileLock(state.live.with_name(f".{state.live.name}.lock"), mode=PRIVATE_FILE, is_singleton=True):
        yield


def read(state: StateLayout) -> Live | None:
    """The current decision; None if there is none, so that the release packed with the service is active.

    Raises:
        ConfigError: The file is damaged.
    """
    try:
        return Live.model_validate_json(state.live.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ConfigError(
            f"{state.live}: empty or damaged, so the active release is unknown: {faults(error)}; "
            "`entityclip release activate PACKAGE` writes it again"
        ) from None


def _replaceable(state: StateLayout) -> Live | None:
    """Like ``read``, but a damaged file counts as none, because the new decision replaces it."""
    try:
        return read(state)
    except ConfigError as error:
        log.warning("%s", error)
        return None


def switch(state: StateLayout, package: Path) -> Live:
    """Make the release in ``package`` the active one; the previous release stays in memory.

    Raises:
        ConfigError, DataError: The folder holds no complete package.
        SignatureError: The service requires a signature that the package does not have.
    """
    package = whole(state, package)
    with locked(state):
        before = _replaceable(state)
        previous = before.champion if before and before.champion != package else before.previous if before else None
        return write(state, Live(champion=package, previous=previous))


def rollback(state: StateLayout) -> Live | None:
    """Make the previous release active again. Returns None if that is the one packed with the service.

    Raises:
        ConfigError: There is no decision to revert.
        SignatureError: The service requires a signature that the previous release does not have; the one that is packed
            with the service has none.
    """
    with locked(state):
        now = read(state)
        if now is None:
            raise ConfigError(f"{state.live}: no decision to roll back; the release packed with the service is active")
        require_signed(state, None if now.previous is None else PackageLayout(now.previous))
        if now.previous is None:
            state.live.unlink()
            return None
        return write(state, Live(champion=now.previous, previous=now.champion))


def shadow(state: StateLayout, champion: Path, *, challenger: Path, share: float) -> Live:
    """Run ``challenger`` in the shadow on a share of the requests; callers only get the answers of ``champion``.

    Raises:
        ConfigError, DataError: A folder holds no complete package, or the share is out of range.
        SignatureError: The service requires a signature that a package does not have.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share is {share:g}; expected above 0 and at most 1")
    champion, challenger = whole(state, champion), whole(state, challenger)
    with locked(state):
        now = _replaceable(state)
        previous = now.previous if now and now.champion == champion else None
        return write(state, Live(champion=champion, previous=previous, challenger=challenger, share=share))


def put_back(state: StateLayout, before: Live | None) -> None:
    """Restore the decision ``before``; None: the release packed with the service."""
    if before is None:
        state.live.unlink(missing_ok=True)
    else:
        write(state, before)


def whole(state: StateLayout, package: Path) -> Path:
    """The absolute folder of a package, after its card was read, every file compared with the manifest, and the
    signature checked where the service requires one.
    """
    layout = PackageLayout(package.resolve())
    read_card(layout)
    verify_files(layout)
    require_signed(state, layout)
    return layout.root


def read_card(layout: PackageLayout) -> PackageCard:
    """Card of the release in a package.

    Raises:
        ConfigError: The folder is not a package.
    """
    try:
        return PackageCard.model_validate_json(layout.release.read_bytes())
    except OSError as error:
        raise ConfigError(f"{layout.root}: no {layout.release.name}, so it is not the package of a release") from error
    except ValidationError as error:
        raise ConfigError(f"{layout.release}: not the card of a package: {faults(error)}") from None


def write(state: StateLayout, live: Live) -> Live:
    """Replace the decision; every worker applies it."""
    private_folder(state.root)
    live.write(state.live, mode=PRIVATE_FILE)
    return live
