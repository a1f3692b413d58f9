"""Criteria are committed before the data, and the report is refused where they were not; with real Git and DVC."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from entityclip.errors import ConfigError, WorkspaceError
from entityclip.paths import CheckpointLayout, DataLayout, Layout
from entityclip.reports import pdf
from entityclip.schemas import EvalReport, PromotionDecision
from flows.cli.value_report import value_report
from flows.workspace.create import open_workspace
from flows.workspace.criteria import commit_criteria, committed_criteria
from flows.workspace.registry import assign_champion
from flows.workspace.repository import Repository
from flows.workspace.versions import release, version_data

pytestmark = pytest.mark.slow
DOCS = Path(__file__).parents[3] / "docs" / "value-report.md"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The example of the documentation, as a file outside the workspace."""
    block = re.search(r"^```yaml\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert block
    path = tmp_path / "criteria.yaml"
    path.write_text(block[1], encoding="utf-8")
    return path


@pytest.fixture
def add_data(accepted: Callable[[str], DataLayout]) -> Callable[[Layout, str], str]:
    return lambda layout, text: version_data(layout, accepted(text), message="Data").data_hash


AddData = Callable[[Layout, str], str]


def test_criteria_make_a_workspace_and_can_be_changed_until_there_are_data(
    tmp_path: Path, file: Path, add_data: AddData
) -> None:
    layout = Layout(tmp_path / "new" / "試行")
    first = commit_criteria(layout.root, file)
    file.write_text(file.read_text().replace("min_recall_at_1: 70", "min_recall_at_1: 72"))
    second = commit_criteria(layout.root, file)
    assert commit_criteria(layout.root, file) == second != first
    add_data(layout, "one")
    add_data(layout, "two")
    found = committed_criteria(layout, file)
    assert (found.commit, found.criteria.success.min_recall_at_1) == (second, 72)
    assert Repository(layout.root).git("show", "--format=%s", "--no-patch", found.data_commit) == "Data"
    assert committed_criteria(layout, None) == found
    with pytest.raises(WorkspaceError, match=r"has had data since commit .*start a new trial: in a new workspace"):
        commit_criteria(layout.root, file)


def test_a_new_folder_may_hold_the_criteria_already(tmp_path: Path, file: Path) -> None:
    layout = Layout(tmp_path / "shop")
    layout.root.mkdir()
    file.rename(layout.criteria)
    commit_criteria(layout.root, layout.criteria)
    assert Repository(layout.root).committed(layout.criteria) is not None


def test_criteria_that_lack_an_assumption_make_nothing(tmp_path: Path, file: Path) -> None:
    content: dict[str, Any] = yaml.safe_load(file.read_text())
    del content["money"]["cost_per_hour"]
    file.write_text(yaml.safe_dump(content, allow_unicode=True))
    with pytest.raises(ConfigError, match=r"money.cost_per_hour is missing: An hour of a person"):
        commit_criteria(tmp_path / "shop", file)
    assert not (tmp_path / "shop").exists()


def test_criteria_that_were_never_committed_are_refused(workspace: Layout, file: Path, add_data: AddData) -> None:
    add_data(workspace, "one")
    with pytest.raises(WorkspaceError, match=r"no criteria.yaml is committed; start a new trial"):
        committed_criteria(workspace, file)


def test_before_there_are_data_there_is_nothing_to_report(workspace: Layout, file: Path) -> None:
    commit_criteria(workspace.root, file)
    with pytest.raises(WorkspaceError, match="has no data yet; run the pipeline first: entityclip run"):
        committed_criteria(workspace, file)


def test_another_file_than_the_committed_one_is_refused(workspace: Layout, file: Path, add_data: AddData) -> None:
    commit_criteria(workspace.root, file)
    add_data(workspace, "one")
    file.write_text(file.read_text() + "# later\n")
    with pytest.raises(ConfigError, match=r"differs from criteria\.yaml as committed .*leave --criteria out"):
        committed_criteria(workspace, file)
    workspace.criteria.write_text(file.read_text())
    with pytest.raises(ConfigError, match=r"git -C .* checkout HEAD -- criteria.yaml"):
        committed_criteria(workspace, None)


def test_criteria_that_changed_after_the_data_are_refused_even_if_changed_back(
    workspace: Layout, file: Path, add_data: AddData
) -> None:
    commit_criteria(workspace.root, file)
    add_data(workspace, "one")
    repository, before = Repository(workspace.root), file.read_text()
    for text in (before.replace("min_recall_at_1: 70", "min_recall_at_1: 10"), before):
        workspace.criteria.write_text(text)
        repository.commit("Criteria, by hand", [workspace.criteria])
        with pytest.raises(WorkspaceError, match=r"which is not before .* may have been fitted to the result"):
            committed_criteria(workspace, None)


def test_criteria_in_the_commit_of_the_data_are_not_before_them(
    workspace: Layout, file: Path, accepted: Callable[[str], DataLayout]
) -> None:
    workspace.criteria.write_text(file.read_text())
    version_data(workspace, accepted("one"), message="Data", together_with=[workspace.criteria])
    with pytest.raises(WorkspaceError, match="which is not before"):
        committed_criteria(workspace, None)


def test_criteria_from_a_branch_beside_the_data_are_not_before_them(
    workspace: Layout, file: Path, add_data: AddData
) -> None:
    repository = Repository(workspace.root)
    repository.git("switch", "--quiet", "--create", "beside")
    commit_criteria(workspace.root, file)
    repository.git("switch", "--quiet", "main")
    add_data(workspace, "one")
    repository.git("merge", "--quiet", "--no-edit", "beside")
    with pytest.raises(WorkspaceError, match="which is not before"):
        committed_criteria(workspace, None)


def test_a_shallow_clone_is_refused(workspace: Layout, file: Path, add_data: AddData, tmp_path: Path) -> None:
    commit_criteria(workspace.root, file)
    add_data(workspace, "one")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth=1", workspace.root.as_uri(), str(clone)], check=True)
    with pytest.raises(WorkspaceError, match="git fetch --unshallow"):
        committed_criteria(Layout(clone), file)


# ---------------------------------------------------------------- the command
def figures(*, queries: int = 1000) -> EvalReport:
    values = {"R@1": 80.0, "R@5": 95.0}
    for target, coverage, precision in ((0.8, 60, 85), (0.9, 50, 93), (0.95, 40, 97)):
        values |= {f"coverage_at_{target}": coverage, f"precision_at_{target}": precision}
        values |= {f"false_accept_at_{target}": 2.0}
    where = {"index": "mixed", "direction": "image_to_text", "slice": "all", "queries": queries}
    found = [where | {"name": n, "value": v, "low": v - 1, "high": v + 1} for n, v in values.items()]
    about = {"model_fingerprint": "alpha", "evaluation_hash": "e", "split": "test", "pictures": queries, "entities": 9}
    parts = {"metrics": found[:2], "open_set": found[2:]}
    return EvalReport.model_validate(about | parts | {"seconds": 1.0})


@pytest.fixture
def trial(
    tmp_path: Path,
    file: Path,
    add_data: AddData,
    checkpoint: Callable[[str], CheckpointLayout],
    decided: Callable[..., PromotionDecision],
) -> Layout:
    """A workspace with criteria, data and a champion."""
    commit_criteria(tmp_path / "trial", file)
    layout = open_workspace(tmp_path / "trial")
    decision = decided("alpha", add_data(layout, "one"))
    made = release(layout, checkpoint=checkpoint("alpha"), reports={"evaluation": figures()}, decision=decision)
    assign_champion(layout, made.version, message="it won")
    return layout


def run(*arguments: object) -> Any:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(value_report)
    return CliRunner().invoke(app, [str(part) for part in arguments])


def test_the_command_writes_page_and_figures_outside_of_git(trial: Layout) -> None:
    done = run("--workspace", trial.root, "--no-pdf", "--json")
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (answer["release"], answer["untraced"], answer["pdf"]) == ("v1.0.0", 0, None)
    assert answer["verdict"] in ("go", "adjust", "stop")
    written = json.loads(Path(answer["figures"]).read_text(encoding="utf-8"))
    assert len(written["figures"]) == answer["count"]
    head = Repository(trial.root).git("rev-parse", "HEAD")
    assert {figure["commit"] for figure in written["figures"] if figure["file"] == "reports/evaluation.json"} == {head}
    assert Path(answer["page"]).is_file()
    assert Repository(trial.root).git("status", "--porcelain") == ""
    commit = "entityclip value-report --criteria criteria.yaml --commit"
    assert {figure["command"] for figure in written["figures"] if figure["file"]} == {"entityclip run", commit}
    author = Repository(trial.root).git("log", "-1", "--format=%an", written["subject"]["criteria_commit"])
    assert f"({author}, 20" in Path(answer["page"]).read_text(encoding="utf-8")


def test_the_page_can_be_in_japanese_and_elsewhere(trial: Layout, tmp_path: Path) -> None:
    done = run("--workspace", trial.root, "--no-pdf", "--language", "ja", "--to", tmp_path / "報告")
    assert done.exit_code == 0, done.output
    assert "導入効果レポート" in (tmp_path / "報告" / "value-report.ja.html").read_text(encoding="utf-8")


def test_without_a_browser_the_page_is_there_and_the_remedy_is_named(
    trial: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdf, "BROWSERS", ("no-such-browser",))
    done = run("--workspace", trial.root)
    assert isinstance(done.exception, ConfigError)
    assert "apt install chromium" in str(done.exception)
    assert str(trial.value_report.page("en")) in str(done.exception)
    assert trial.value_report.page("en").is_file()


def test_without_a_champion_the_remedy_is_named(tmp_path: Path, file: Path, add_data: AddData) -> None:
    commit_criteria(tmp_path / "trial", file)
    add_data(Layout(tmp_path / "trial"), "one")
    done = run("--workspace", tmp_path / "trial", "--no-pdf")
    assert isinstance(done.exception, WorkspaceError)
    assert "no release is the champion" in str(done.exception)
