"""Locks of Git that a killed run left are removed, and those of living processes stay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from entityclip.paths import Layout
from flows.workspace.repository import Repository, exclusive

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process that ends with the test."""
    with ExitStack() as started:

        def start(*command: str, **options: object) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, **options)  # type: ignore[call-overload]
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield start


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def editor(folder: Path) -> dict[str, str]:
    """A person at an editor, who ends with the message once the file ``done`` is there."""
    script = folder / "editor"
    begins, ends = f"cd '{folder}' && touch open", "while [ -e open ] && [ ! -e done ]; do sleep 0.05; done"
    script.write_text(f'#!/bin/sh\n{begins}\n{ends}\necho "説明を直した" > "$1"\n')
    script.chmod(0o755)
    return os.environ | {"GIT_EDITOR": str(script)}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_lock_of_a_person_who_writes_the_message_of_a_commit_stays(
    workspace: Layout, tmp_path: Path, start: Start, caplog: pytest.LogCaptureFixture, elsewhere: bool
) -> None:
    workspace.unfinished.touch()  # a run was killed here, and then somebody came by
    (workspace.root / "note").write_text("x")
    Repository(workspace.root).git("add", "note")
    options = ["--git-dir", f"{workspace.root}/.git", "--work-tree", str(workspace.root)] if elsewhere else []
    cwd = tmp_path if elsewhere else workspace.root
    commit = start("git", *options, "commit", "--all", cwd=cwd, env=editor(tmp_path))
    lock = workspace.root / ".git" / "index.lock"
    until(lambda: (tmp_path / "open").exists())
    assert lock.exists()
    with exclusive(workspace):
        assert lock.exists()
    assert f"{lock}: kept; process {commit.pid} (git) may hold it" in caplog.text
    (tmp_path / "done").touch()
    assert commit.wait(60) == 0
    assert Repository(workspace.root).git("log", "-1", "--format=%s") == "説明を直した"


def test_lock_that_any_program_has_open_stays(workspace: Layout, start: Start) -> None:
    workspace.unfinished.touch()
    lock = workspace.root / ".git" / "refs" / "heads" / "main.lock"
    opens = f"import time; file = open({str(lock)!r}, 'w'); print('open', flush=True); time.sleep(600)"
    holder = start(sys.executable, "-c", opens)
    assert holder.stdout is not None
    holder.stdout.readline()
    with exclusive(workspace):
        assert lock.exists()
    holder.kill()
    holder.wait()
    workspace.unfinished.touch()
    os.utime(lock)
    with exclusive(workspace):
        assert not lock.exists()


def test_lock_whose_git_was_killed_is_removed_although_git_is_at_work_in_another_repository(
    workspace: Layout, tmp_path: Path, start: Start
) -> None:
    workspace.unfinished.touch()
    (workspace.root / "note").write_text("x")
    Repository(workspace.root).git("add", "note")
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "other")], check=True)
    start("git", "cat-file", "--batch", cwd=tmp_path / "other", stdin=subprocess.PIPE)
    commit = start("git", "commit", "--all", cwd=workspace.root, env=editor(tmp_path))
    until(lambda: (tmp_path / "open").exists())
    commit.kill()
    (tmp_path / "done").touch()
    commit.wait()
    lock = workspace.root / ".git" / "index.lock"
    assert lock.exists()
    with exclusive(workspace):
        assert not lock.exists()


def test_git_that_came_after_the_lock_does_not_hold_it(workspace: Layout, start: Start) -> None:
    workspace.unfinished.touch()
    lock = workspace.root / ".git" / "index.lock"
    lock.touch()
    an_hour_ago = time.time() - 3600
    for path in (workspace.unfinished, lock):
        os.utime(path, (an_hour_ago, an_hour_ago))
    start("git", "cat-file", "--batch", cwd=workspace.root, stdin=subprocess.PIPE)
    with exclusive(workspace):
        assert not lock.exists()
