"""Commands that other packages add to ``entityclip`` through entry points.

The group ``entityclip.commands`` adds to the program, and ``entityclip.commands.NAME`` to its command NAME. An entry
point names a function or a Typer app. Its module is imported when the command or its help runs, so it should
import heavy packages inside its functions.
"""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.main import get_command

from entityclip.errors import ConfigError

GROUP = "entityclip.commands"


@functools.cache
def contributed(group: str = GROUP) -> dict[str, EntryPoint]:
    """Name -> entry point of every command that installed packages add; the first of two with the same name wins."""
    return {point.name: point for point in reversed(tuple(entry_points(group=group)))}


def load(point: EntryPoint) -> Any:
    """The Typer command of an entry point; if its import fails, a command that reports the failure."""
    try:
        found = point.load()
    except Exception as error:  # a broken package breaks only its own command
        found = _broken(point, f"{type(error).__name__}: {error}")
    if not isinstance(found, typer.Typer):
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        app.command(name=point.name)(found)
        found = app
    command = get_command(found)
    command.name = point.name
    return command


def _broken(point: EntryPoint, reason: str) -> Any:
    def broken() -> None:
        raise ConfigError(f"{point.name}: {point.value} cannot be imported: {reason}; install its package again")

    broken.__doc__ = f"Not available: {point.value} cannot be imported."
    return broken
