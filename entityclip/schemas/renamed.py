"""Settings that have another name now: a file with an old name is refused, with the new name in the message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entityclip.errors import ConfigError


def refuse_renamed(settings: object, renamed: Mapping[str, str], *, where: object) -> None:
    """Check what a settings file holds for names that are no longer used.

    Args:
        settings: The parsed file, before validation.
        renamed: Old name -> new name, each with dots between its levels, as ``promotion.surely``.
        where: The file, for the message.

    Raises:
        ConfigError: Names the file, each old name and its new one.
    """
    found = [f"{old} is now called {new}" for old, new in renamed.items() if _holds(settings, old.split("."))]
    if found:
        raise ConfigError(f"{where}: {'; '.join(found)}. Rename the setting in this file.")


def _holds(settings: Any, levels: list[str]) -> bool:
    for level in levels:
        if not isinstance(settings, dict) or level not in settings:
            return False
        settings = settings[level]
    return True
