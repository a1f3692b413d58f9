"""Output of the commands: tables, and with --json one object as the last line."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import typer


def on_terminal() -> bool:
    """Whether standard error is a terminal, so that progress bars are shown."""
    return sys.stderr.isatty()


def table(rows: Sequence[Mapping[str, Any]], *, decimals: int = 3) -> None:
    """Print rows with the same keys as a table: numbers right-aligned, texts left-aligned."""
    if not rows:
        typer.echo("(none)")
        return
    lines = [[*rows[0]], *([_cell(value, decimals) for value in row.values()] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    numbers = [isinstance(value, int | float) for value in rows[0].values()]
    for line in lines:
        padded = (
            " " * (width - _width(cell)) + cell if number else cell + " " * (width - _width(cell))
            for cell, width, number in zip(line, widths, numbers, strict=True)
        )
        typer.echo("  ".join(padded).rstrip())


def _cell(value: Any, decimals: int) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{decimals}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _width(text: str) -> int:
    """Width of ``text`` on a terminal; a Japanese character takes two columns."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def last_line(answer: Mapping[str, Any], as_json: bool) -> None:
    """Print ``answer`` as one line of JSON if ``as_json`` is set."""
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False))
