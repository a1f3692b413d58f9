import contextlib
import errno
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from entityclip.errors import ConfigError, WorkspaceError
from entityclip.paths import Layout
from entityclip.schemas import PromotionPolicy
from entityclip.settings import default_config, read_config
from flows.workspace.create import open_workspace
from flows.workspace.repository import Repository, translate_disk_full


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_new_workspace_is_one_clean_commit(workspace: Layout) -> None:
    assert git(workspace.root, "rev-list", "--count", "HEAD") == "1"
    assert git(workspace.root, "status", "--porcelain") == ""
    tracked = set(git(workspace.root, "ls-files").splitlines())
    assert {".dvc/config", ".gitignore", "dvc.yaml", "entityclip.yaml"} <= tracked
    assert git(workspace.root, "config", "user.email") == "flows@entityclip.invalid"


def test_opening_twice_changes_nothing(workspace: Layout) -> None:
    head = git(workspace.root, "rev-parse", "HEAD")
    open_workspace(workspace.root)
    assert git(workspace.root, "rev-parse", "HEAD") == head


@pytest.mark.parametrize("name", ["data", "model", "feedback"])
def test_what_dvc_keeps_is_ignored_from_the_beginning(workspace: Layout, name: str) -> None:
    (workspace.root / name).mkdir()
    (workspace.root / name / "file").write_text("content")
    Repository(workspace.root).add(workspace.root / name)
    changed = git(workspace.root, "status", "--porcelain").splitlines()
    assert [line[3:] for line in changed] == [f"{name}.dvc"]  # a run killed here leaves no .gitignore to commit


def test_dvc_is_quiet_and_verifies(workspace: Layout) -> None:
    config = (workspace.dvc_folder / "config").read_text().lower()
    for line in ("analytics = false", "check_update = false", "autostage = true", "verify = true"):
        assert line in config


def test_a_folder_inside_another_repository_becomes_its_own(workspace: Layout) -> None:
    inner = open_workspace(workspace.root / "build" / "demo")
    assert git(inner.root, "rev-parse", "--show-toplevel") == str(inner.root)
    assert git(workspace.root, "rev-list", "--count", "HEAD") == "1"


def test_a_folder_with_other_things_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(WorkspaceError, match=r"thesis\.txt.*git init"):
        open_workspace(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root, reason in [(tmp_path / "file", "is a file"), (tmp_path / "file" / "below", "cannot be created")]:
        with pytest.raises(WorkspaceError, match=reason):
            open_workspace(root)


def test_a_symbolic_link_leads_to_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    assert open_workspace(tmp_path / "link").root == tmp_path / "disk"


def test_a_users_repository_keeps_identity_staging_remote_and_settings(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "trunk")
    git(tmp_path, "config", "user.name", "Ada")
    git(tmp_path, "config", "user.email", "ada@example.org")
    (tmp_path / "draft.txt").write_text("not yet")
    git(tmp_path, "add", "draft.txt")
    (tmp_path / "entityclip.yaml").write_text("promotion: {min_gain: 2}\n")
    (tmp_path / ".gitignore").write_text("*.log")
    layout = open_workspace(tmp_path)
    assert git(tmp_path, "log", "-1", "--format=%an") == "Ada"
    assert "A  draft.txt" in git(tmp_path, "status", "--porcelain")
    assert read_config(layout.config).promotion.min_gain == 2
    assert "*.log" in (tmp_path / ".gitignore").read_text().splitlines()


def test_a_moved_workspace_finds_its_remote(workspace: Layout, tmp_path: Path) -> None:
    shutil.move(workspace.root, tmp_path / "moved")
    moved = open_workspace(tmp_path / "moved")
    assert f"url = {moved.remote}" in (moved.dvc_folder / "config").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("milliseconds", [200, 450, 700])
def test_a_killed_opening_is_completed_by_the_next(tmp_path: Path, milliseconds: int) -> None:
    root = tmp_path / "workspace"
    script = "import dvc.repo, sys, pathlib; from flows.workspace import open_workspace as o; print(1, flush=True); "
    child = subprocess.Popen([sys.executable, "-c", script + f"o(pathlib.Path({str(root)!r}))"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=milliseconds / 1000)
    child.kill()
    child.wait()
    open_workspace(root)
    assert git(root, "status", "--porcelain") == ""
    assert "dvc.yaml" in git(root, "ls-files")


def test_a_lock_of_our_own_killed_run_is_removed(workspace: Layout) -> None:
    workspace.unfinished.touch()
    (workspace.root / ".git" / "index.lock").touch()
    workspace.config.unlink()
    open_workspace(workspace.root)
    assert workspace.config.exists()


def test_a_lock_of_somebody_else_is_left_and_named(workspace: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.workspace.repository.LOCK_SECONDS", 0.2)
    lock = workspace.root / ".git" / "index.lock"
    lock.touch()
    workspace.config.write_text("promotion: {min_gain: 1}\n")
    with pytest.raises(WorkspaceError, match=r"index\.lock.*delete it$"):
        Repository(workspace.root).commit("change", [workspace.config])
    assert lock.exists()


def test_hooks_of_the_user_do_not_run(workspace: Layout) -> None:
    hook = workspace.root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    workspace.config.write_text("promotion: {min_gain: 1}\n")
    head = git(workspace.root, "rev-parse", "HEAD")
    assert Repository(workspace.root).commit("change", [workspace.config]) != head


def test_a_commit_on_a_detached_head_is_refused(workspace: Layout) -> None:
    git(workspace.root, "checkout", "-q", "--detach")
    with pytest.raises(WorkspaceError, match="detached"):
        Repository(workspace.root).commit("lost", [workspace.config])


def test_the_written_config_shows_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "entityclip.yaml"
    path.write_text(default_config())
    assert read_config(path).promotion == PromotionPolicy()
    assert all(f"  {name}: " in path.read_text() for name in PromotionPolicy.model_fields)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("promotion: {minimal_gian: 1}", "promotion.minimal_gian"),
        ("promotion: {max_slice_drop: -1}", "promotion.max_slice_drop"),
        ("promotion: {surely: true}", "promotion.surely is now called promotion.require_significant"),
        ("explain: {writer: openai, at_once: 4}", "explain.at_once is now called explain.max_concurrency"),
        ("promotion: [", "YAML"),
        ("- a list", "the file"),
        ("promotion: {metric: \0}", "YAML"),
    ],
)
def test_a_fault_in_the_config_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "entityclip.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named):
        read_config(path)


def test_a_full_disk_is_one_error_whatever_finds_it(tmp_path: Path) -> None:
    layout, database = Layout(tmp_path), sqlite3.connect(tmp_path / "small.sqlite")
    database.execute("PRAGMA max_page_count = 2")
    message = rf"{tmp_path}: its disk is full.*make room"
    with pytest.raises(WorkspaceError, match=message), translate_disk_full(layout):
        database.execute("CREATE TABLE a AS SELECT zeroblob(100000)")
    with pytest.raises(WorkspaceError, match=message), translate_disk_full(layout):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(WorkspaceError, match=message), translate_disk_full(layout):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(SafetensorError), translate_disk_full(layout):
        raise SafetensorError("Error while deserializing header: header too large")
    with pytest.raises(sqlite3.OperationalError, match="no such column"), translate_disk_full(layout):
        database.execute("SELECT colour")
    with pytest.raises(FileNotFoundError), translate_disk_full(layout):
        (tmp_path / "nowhere").read_text()


def test_a_new_workspace_is_closed_to_other_accounts_and_an_old_folder_stays_as_it_is(tmp_path: Path) -> None:
    assert stat.S_IMODE(open_workspace(tmp_path / "new" / "店").root.stat().st_mode) == 0o700
    (tmp_path / "mine").mkdir(mode=0o755)
    assert stat.S_IMODE(open_workspace(tmp_path / "mine").root.stat().st_mode) == 0o755
