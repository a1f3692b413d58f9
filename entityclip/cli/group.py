"""The group of all commands: their order in ``--help``, commands of other packages, and what an error prints."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from entityclip.cli.contributed import GROUP, contributed, load
from entityclip.errors import Busy, EntityClipError

REFUSED, BUSY = 1, 3
"""Exit codes; 0 is done and 2 is wrong usage."""

PANELS = {
    "Pipeline": "demo init run up down doctor history rollback approve collect forget monitor feedback deploy notify",
    "Single stages": "ingest explain audit score gate-report train calibrate evaluate export distil ablate seeds "
    "learning-curve tune backbones",
    "Review and search": "review annotate search tag read blur value-report",
    "Service": "serve keys release",
}
"""Heading -> names of commands, as ``entityclip --help`` lists them. A command that is not here is listed last."""

OTHER = "Other commands"


class ErrorMessages(TyperGroup):
    """Commands whose errors are one line on standard error; any other exception is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; the only place that turns an error into a message and an exit code."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of the output, say `head`, has closed it
            raise
        except (EntityClipError, OSError) as error:
            message = "; ".join(line.strip() for line in str(error).splitlines())
            typer.echo(f"{type(error).__name__}: {message}", err=True)
            raise typer.Exit(BUSY if isinstance(error, Busy) else REFUSED) from None


class Extensible(TyperGroup):
    """Commands of this package, and those that other packages add."""

    entry_points = GROUP
    """Group of their entry points."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every name, those of this package first."""
        return list(dict.fromkeys([*super().list_commands(ctx), *contributed(self.entry_points)]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, here or in another package; None where there is none."""
        own = super().get_command(ctx, cmd_name)
        point = contributed(self.entry_points).get(cmd_name)
        return load(point) if own is None and point is not None else own


class Commands(ErrorMessages, Extensible):
    """All commands of ``entityclip``."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every name, in the order of ``PANELS``."""
        order = [name for names in PANELS.values() for name in names.split()]
        known = super().list_commands(ctx)
        return sorted(known, key=lambda name: order.index(name) if name in order else len(order))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section for each panel."""
        panels: dict[str, list[tuple[str, Any]]] = {title: [] for title in (*PANELS, OTHER)}
        for name in self.list_commands(ctx):
            panels[panel_of(name)].append((name, self.get_command(ctx, name)))
        width = formatter.width - 6 - max(len(name) for listed in panels.values() for name, _ in listed)
        for title, listed in panels.items():
            if listed:
                with formatter.section(title):
                    formatter.write_dl([(name, command.get_short_help_str(width)) for name, command in listed])


def panel_of(name: str) -> str:
    """The heading that a command is listed under."""
    return next((title for title, names in PANELS.items() if name in names.split()), OTHER)
