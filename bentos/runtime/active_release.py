"""Which release answers, written by whoever decides it and read by every worker of every replica.

A switch is one rename of one small file. Workers load the new release beside the old one, let it find an entity of
its own, and only then give it the next request; those in work end where they began.
"""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import Field, ValidationError

from bentos.runtime.manifest import verify_files
from entityclip.errors import ConfigError, faults
from entityclip.paths import PackageLayout, StateLayout
from entityclip.schemas import PackageCard, Record
from entityclip.storage import PRIVATE_FILE, private_folder

log = logging.getLogger("entityclip.releases")


class Live(Record):
    """Folders of packages: BentoML keeps those of its models under ``models/entityclip-model/VERSION``."""

    champion: Path = Field(description="Answers.")
    previous: Path | None = Field(
        default=None, description="Answered before, and stays in memory; None: the service's own."
    )
    challenger: Path | None = Field(default=None, description="Answers a share of the requests too, for the record.")
    share: float = Field(default=0.0, ge=0, le=1, description="Of search and tag requests, for the challenger.")


def read(state: StateLayout) -> Live | None:
    """What was decided; None where nothing was, and the service answers with the release that is packed with it.

    Raises:
        ConfigError: The file is not one of ours.
    """
    try:
        return Live.model_validate_json(state.live.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ConfigError(
            f"{state.live}: empty or damaged, does not say which release answers: {faults(error)}; "
            "`entityclip release activate PACKAGE` writes it again"
        ) from None


def _replaceable(state: StateLayout) -> Live | None:
    """As ``read``, for a decision that replaces whatever is there: a damaged file is none."""
    try:
        return read(state)
    except ConfigError as error:
        log.warning("%s", error)
        return None


def switch(state: StateLayout, package: Path) -> Live:
    """Let the release in ``package`` answer; the one before stays in memory.

    Raises:
        ConfigError, DataError: The folder holds no whole package.
    """
    package = _whole(package)
    before = _replaceable(state)
    previous = before.champion if before and before.champion != package else before.previous if before else None
    return _write(state, Live(champion=package, previous=previous))


def rollback(state: StateLayout) -> Live | None:
    """Let the previous release answer again; None: the one that is packed with the service does.

    Raises:
        ConfigError: Nothing was ever decided.
    """
    now = read(state)
    if now is None:
        raise ConfigError(f"{state.live}: nothing to take back; the release that is packed with the service answers")
    if now.previous is None:
        state.live.unlink()
        return None
    return _write(state, Live(champion=now.previous, previous=now.champion))


def shadow(state: StateLayout, champion: Path, *, challenger: Path, share: float) -> Live:
    """Let ``challenger`` answer a share of the requests beside ``champion``; no caller sees its answers.

    Raises:
        ConfigError, DataError: A folder holds no whole package, or the share is none.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"a share of {share:g}; expected above 0, at most 1")
    now, champion = _replaceable(state), _whole(champion)
    previous = now.previous if now and now.champion == champion else None
    return _write(state, Live(champion=champion, previous=previous, challenger=_whole(challenger), share=share))


def put_back(state: StateLayout, before: Live | None) -> None:
    """Let ``before`` be decided again; None: the release that is packed with the service."""
    if before is None:
        state.live.unlink(missing_ok=True)
    else:
        _write(state, before)


def _whole(package: Path) -> Path:
    """The folder, absolute, after its release was read and every file was compared with the manifest."""
    layout = PackageLayout(package.resolve())
    read_card(layout)
    verify_files(layout)
    return layout.root


def read_card(layout: PackageLayout) -> PackageCard:
    """Which release a package holds.

    Raises:
        ConfigError: The folder is no package.
    """
    try:
        return PackageCard.model_validate_json(layout.release.read_bytes())
    except OSError as error:
        raise ConfigError(f"{layout.root}: no {layout.release.name}, so it is no package of a release") from error
    except ValidationError as error:
        raise ConfigError(f"{layout.release}: not the card of a package: {faults(error)}") from None


def _write(state: StateLayout, live: Live) -> Live:
    private_folder(state.root)
    live.write(state.live, mode=PRIVATE_FILE)
    return live
