from pathlib import Path

import pytest

from entityclip.errors import ConfigError
from entityclip.paths import Layout
from flows.platform import doctor
from flows.workspace.repository import Repository


def test_the_remote_is_written_read_and_left_as_it_was(workspace: Layout) -> None:
    before = {path for path in workspace.remote.rglob("*") if path.is_file()}
    found = doctor.remote(workspace)
    assert found.state == "note"  # it works, and is no backup
    assert found.saw.endswith("written, read and deleted")
    assert {path for path in workspace.remote.rglob("*") if path.is_file()} == before


def test_a_missing_disk_a_detached_head_and_bad_settings_are_reported_with_a_remedy(
    workspace: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.dvc_folder.joinpath("config").write_text(
        f"['remote \"far\"']\n    url = {tmp_path / 'unmounted' / 'deep'}\n[core]\n    remote = far\n"
    )
    Repository(workspace.root).git("checkout", "--quiet", "--detach")
    workspace.config.write_text("promotion: {metrics: R@1}\n")
    monkeypatch.setattr(doctor, "FREE_GB", 0.0)  # the disk of this machine may be nearly full
    wrong = {finding.what: finding for finding in doctor.examine(workspace) if finding.state == "wrong"}
    assert wrong.keys() == {"DVC remote", "Git", "settings", "time zone", "LLM server"}
    assert "mount the disk" in wrong["DVC remote"].remedy
    assert "switch main" in wrong["Git"].remedy
    assert "metrics" in wrong["settings"].saw


def test_the_time_zone_of_the_schedules_is_shown_and_a_wrong_one_is_named(workspace: Layout) -> None:
    assert doctor.timezone(workspace).saw.startswith("UTC, where it is ")
    workspace.config.write_text("runs: {timezone: Asia/Tokyo}\n")
    found = doctor.timezone(workspace)
    assert (found.state, found.saw.partition(",")[0]) == ("fine", "Asia/Tokyo")
    for wrong, meant in (("asia/tokio", "Asia/Tokyo"), ("JST", "like "), ("+09:00", "like "), ("日本", "like ")):
        workspace.config.write_text(f"runs: {{timezone: '{wrong}'}}\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"runs\.timezone") as caught:
            doctor.timezone(workspace)
        assert repr(wrong) in str(caught.value)
        assert meant in str(caught.value)
    for unsafe in ("/etc/localtime", "../../etc/passwd", "", "Asia", "9"):
        workspace.config.write_text(f"runs: {{timezone: '{unsafe}'}}\n")
        with pytest.raises(ConfigError, match=r"IANA database"):
            doctor.timezone(workspace)


def test_no_workspace_is_a_note_and_nothing_is_made(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "none")
    assert {doctor.git(layout).state, doctor.remote(layout).state} == {"note"}
    assert not layout.root.exists()


def test_an_unreachable_server_is_reported_without_the_key(workspace: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.config.write_text(
        "explain: {writer: openai, model: m, base_url: 'http://127.0.0.1:9/v1', api_key_env: THE_KEY}\n"
    )
    assert doctor.llm(workspace).saw == "THE_KEY is not set"
    monkeypatch.setenv("THE_KEY", "s3cret")
    found = doctor.llm(workspace)
    assert (found.state, found.saw) == ("wrong", "http://127.0.0.1:9/v1: ConnectError")
    assert "s3cret" not in found.model_dump_json()
