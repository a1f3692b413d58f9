from pathlib import Path

import pytest

from entityclip.layout import Layout
from flows import doctor
from flows.repository import Repository


def test_the_remote_is_written_read_and_left_as_it_was(workspace: Layout) -> None:
    before = {path for path in workspace.remote.rglob("*") if path.is_file()}
    found = doctor.remote(workspace)
    assert found.state == "note"  # it works, and is no backup
    assert found.saw.endswith("written, read and deleted")
    assert {path for path in workspace.remote.rglob("*") if path.is_file()} == before


def test_a_missing_disk_a_detached_head_and_bad_settings_are_told_with_the_cure(
    workspace: Layout, tmp_path: Path
) -> None:
    workspace.dvc_folder.joinpath("config").write_text(
        f"['remote \"far\"']\n    url = {tmp_path / 'unmounted' / 'deep'}\n[core]\n    remote = far\n"
    )
    Repository(workspace.root).git("checkout", "--quiet", "--detach")
    workspace.config.write_text("promotion: {metrics: R@1}\n")
    wrong = {finding.what: finding for finding in doctor.examine(workspace) if finding.state == "wrong"}
    assert wrong.keys() == {"DVC remote", "Git", "settings", "LLM server"}
    assert "mount the disk" in wrong["DVC remote"].mend
    assert "switch main" in wrong["Git"].mend
    assert "metrics" in wrong["settings"].saw


def test_no_workspace_is_a_note_and_nothing_is_made(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "none")
    assert {doctor.git(layout).state, doctor.remote(layout).state} == {"note"}
    assert not layout.root.exists()


def test_a_server_that_is_not_there_is_told_without_the_key(workspace: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.config.write_text(
        "explain: {writer: openai, model: m, base_url: 'http://127.0.0.1:9/v1', api_key_env: THE_KEY}\n"
    )
    assert doctor.llm(workspace).saw == "THE_KEY is not set"
    monkeypatch.setenv("THE_KEY", "s3cret")
    found = doctor.llm(workspace)
    assert (found.state, found.saw) == ("wrong", "http://127.0.0.1:9/v1: ConnectError")
    assert "s3cret" not in found.model_dump_json()
