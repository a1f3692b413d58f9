"""The program as a process: its exit codes, and that its quick end loses nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import atexit, logging, tempfile
import typer
from entityclip.__main__ import main
from entityclip.cli import app

@app.command()
def probe(log: str) -> None:
    global folder
    folder = tempfile.TemporaryDirectory()
    logging.getLogger().addHandler(logging.handlers.MemoryHandler(99, target=logging.FileHandler(log)))
    logging.getLogger().warning("kept until the end")
    atexit.register(print, "registered by a library")
    print(folder.name)
    print("x" * 200_000)
    raise typer.Exit(3)

import logging.handlers
main(["probe", %r])
"""


@pytest.mark.parametrize(
    ("words", "code", "shown"),
    [
        (["backbones", "list", "--help"], 0, "Usage: entityclip backbones list"),
        (["no-such-command"], 2, "No such command 'no-such-command'"),
        (["score", "/no/such/folder"], 1, "/no/such/folder"),
    ],
)
def test_exit_code_is_that_of_the_command(words: list[str], code: int, shown: str) -> None:
    done = subprocess.run([sys.executable, "-m", "entityclip", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, shown in done.stdout + done.stderr) == (code, True), done.stderr


def test_its_end_runs_what_libraries_registered_and_loses_no_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = subprocess.run([sys.executable, "-c", PROBE % str(log)], capture_output=True, text=True, check=False)
    folder, long, registered = done.stdout.splitlines()
    assert (done.returncode, len(long), registered) == (3, 200_000, "registered by a library"), done.stderr
    assert not Path(folder).exists()
    assert "kept until the end" in log.read_text()
