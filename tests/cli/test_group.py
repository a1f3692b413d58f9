"""The one program: panels, examples, exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from entityclip.cli import app
from entityclip.cli.group import BUSY, OTHER, PANELS, REFUSED, ErrorMessages, panel_of
from entityclip.errors import Busy, ConfigError


def leaves(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Words and command of everything that can be run."""
    if not hasattr(command, "list_commands"):
        yield words, command
        return
    context = command.make_context("entityclip", [], resilient_parsing=True)
    for name in command.list_commands(context):
        yield from leaves(command.get_command(context, name), *words, name)


COMMANDS = dict(leaves(get_command(app)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_help_of_every_command_has_an_example(words: tuple[str, ...]) -> None:
    assert f"entityclip {' '.join(words)}" in (COMMANDS[words].help or "")


PROCESSES = {("deploy",), ("serve",), ("review", "serve")}
"""They become another program, or answer until they are stopped."""


@pytest.mark.parametrize("words", sorted(COMMANDS.keys() - PROCESSES), ids=" ".join)
def test_every_command_prints_its_result_for_programs(words: tuple[str, ...]) -> None:
    assert any("--json" in parameter.opts for parameter in COMMANDS[words].params)


def test_help_lists_every_command_under_its_heading() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    assert [shown.index(f"\n{title}:") for title in PANELS] == sorted(shown.index(f"\n{title}:") for title in PANELS)
    assert all(panel_of(words[0]) != OTHER for words in COMMANDS)


@pytest.mark.parametrize(
    ("error", "code"), [(ConfigError("no such preset"), REFUSED), (Busy("another run"), BUSY), (OSError("full"), 1)]
)
def test_an_error_is_one_line_and_an_exit_code(error: Exception, code: int) -> None:
    failing = typer.Typer(cls=ErrorMessages)

    @failing.command()
    def fail() -> None:
        raise error

    @failing.command()
    def succeed() -> None: ...

    ended = CliRunner().invoke(failing, ["fail"])
    assert (ended.exit_code, ended.stderr) == (code, f"{type(error).__name__}: {error}\n")


def test_wrong_usage_ends_with_2(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["rollback", "--workspace", str(tmp_path)]).exit_code == 2
