"""A workspace remembers where its data come from; other data replace them only on explicit request."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from entityclip.cli import app
from entityclip.errors import ConfigError, EntityClipError
from entityclip.paths import CheckpointLayout, DataLayout, Layout
from entityclip.schemas import PromotionDecision
from flows.backfill import backfill
from flows.retrain import retrain
from flows.workspace.create import open_workspace
from flows.workspace.registry import fetch_release
from flows.workspace.source import Origin, WorkspaceSource, remember, source_for
from flows.workspace.versions import release, restore, version_data

Accepted = Callable[[str], DataLayout]
PREFECT_YAML = Path(__file__).resolve().parents[3] / "prefect.yaml"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    folder = tmp_path / "商品 写真"
    folder.mkdir()
    (folder / "pictures.csv").write_text("file,entity\na.jpg,A\n")
    (folder / "対応.yaml").write_text("file: file\n", encoding="utf-8")
    return folder


@pytest.fixture
def shop(workspace: Layout, table: Path, accepted: Accepted) -> Layout:
    """A workspace with data from a table, and the table remembered."""
    named = Origin(preset="table", path=table / "pictures.csv", mapping=table / "対応.yaml")
    remember(workspace, source_for(workspace, named))
    version_data(workspace, accepted("1"), message="Data from table: 1 pairs")
    return workspace


def committed(layout: Layout) -> tuple[bytes, bytes]:
    return layout.data_dvc.read_bytes(), layout.source.read_bytes()


# ---------------------------------------------------------------- the schedule
def test_no_schedule_names_a_source_so_that_none_can_replace_a_shops_data() -> None:
    for deployment in yaml.safe_load(PREFECT_YAML.read_text())["deployments"]:
        named = {"preset", "source", "source_path", "mapping", "products"} & deployment.get("parameters", {}).keys()
        assert not named, deployment["name"]


@pytest.mark.parametrize("preset", ["demo", "grocery", "tiny"])
def test_the_built_in_sample_never_replaces_a_shops_data(shop: Layout, table: Path, preset: str) -> None:
    before = committed(shop)
    with pytest.raises(ConfigError) as caught:
        retrain.fn(preset=preset, workspace=shop.root)
    assert str(table / "pictures.csv") in str(caught.value)
    assert f"preset {preset}" in str(caught.value)
    assert "--replace-source" in str(caught.value)
    assert committed(shop) == before
    with pytest.raises(ConfigError, match="--replace-source"):
        backfill.fn(preset=preset, workspace=shop.root)


# ---------------------------------------------------------------- what is remembered
def test_a_run_without_a_source_takes_the_remembered_one(shop: Layout, table: Path) -> None:
    expected = WorkspaceSource(
        preset="table",
        source="table",
        path=str(table / "pictures.csv"),
        mapping=str(table / "対応.yaml"),
        products=None,
    )
    assert source_for(shop, Origin()) == expected
    for named in (
        Origin(preset="table"),
        Origin(source="table"),
        Origin(path=table / "pictures.csv"),
        Origin(preset="table", source="table", mapping=table / "対応.yaml"),
    ):
        assert source_for(shop, named) == expected


def test_content_of_table_and_mapping_may_change(shop: Layout, table: Path) -> None:
    before = source_for(shop, Origin())
    (table / "対応.yaml").write_text("file: file\nentity: entity\n", encoding="utf-8")
    (table / "pictures.csv").write_text("file,entity\nb.jpg,B\n")
    assert source_for(shop, Origin(mapping=table / "対応.yaml")) == before


@pytest.mark.parametrize("change", ["path", "mapping", "preset"])
def test_every_part_of_the_source_counts(shop: Layout, tmp_path: Path, change: str) -> None:
    other = Origin(**{change: "tiny" if change == "preset" else tmp_path / "other"}, source="table")
    with pytest.raises(ConfigError, match="its data come from: table"):
        source_for(shop, other)
    assert source_for(shop, other, replace=True) != source_for(shop, Origin())


def test_replacing_by_kind_keeps_nothing_and_by_path_alone_keeps_the_rest(shop: Layout, tmp_path: Path) -> None:
    moved = source_for(shop, Origin(path=tmp_path / "moved"), replace=True)
    assert moved.mapping == source_for(shop, Origin()).mapping
    fresh = source_for(shop, Origin(source="table", path=tmp_path / "moved"), replace=True)
    assert (fresh.preset, fresh.mapping) == ("photos", None)


def test_the_memory_is_committed_once_and_goes_with_a_clone(shop: Layout, tmp_path: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=shop.root, capture_output=True, text=True).stdout
    remember(shop, source_for(shop, Origin()))
    again = subprocess.run(["git", "rev-parse", "HEAD"], cwd=shop.root, capture_output=True, text=True).stdout
    assert again == head
    subprocess.run(["git", "clone", "--quiet", str(shop.root), str(tmp_path / "clone")], check=True)
    clone = Layout(tmp_path / "clone")
    with pytest.raises(ConfigError, match="--replace-source"):
        source_for(clone, Origin(preset="demo"))
    assert source_for(clone, Origin()) == source_for(shop, Origin())


def test_a_table_inside_the_workspace_moves_with_it(workspace: Layout, tmp_path: Path) -> None:
    (workspace.root / "shop").mkdir()
    remember(workspace, source_for(workspace, Origin(preset="table", path=workspace.root / "shop")))
    moved = Layout(tmp_path / "moved")
    shutil.move(workspace.root, moved.root)
    source = source_for(moved, Origin())
    assert source.path == "shop"
    assert source_for(moved, Origin(path=moved.root / "shop")) == source


def test_a_relative_path_is_the_same_from_every_folder(
    workspace: Layout, table: Path, monkeypatch: pytest.MonkeyPatch, accepted: Accepted
) -> None:
    monkeypatch.chdir(table)
    remember(workspace, source_for(workspace, Origin(preset="table", path=Path("pictures.csv"))))
    version_data(workspace, accepted("1"), message="Data from table: 1 pairs")
    monkeypatch.chdir(table.parent)
    (table.parent / "link").symlink_to(table)
    for same in (Path(table.name) / "pictures.csv", Path("link") / "pictures.csv"):
        assert source_for(workspace, Origin(path=same)).path == str(table / "pictures.csv")


def test_a_first_run_that_left_no_data_does_not_fix_the_source(workspace: Layout, table: Path) -> None:
    remember(workspace, source_for(workspace, Origin(preset="table", path=table)))
    assert source_for(workspace, Origin(preset="demo")).source == "catalog"


def test_a_rollback_brings_back_the_source_of_its_release(
    shop: Layout,
    accepted: Accepted,
    checkpoint: Callable[[str], CheckpointLayout],
    decided: Callable[..., PromotionDecision],
) -> None:
    before = source_for(shop, Origin())
    data = version_data(shop, accepted("1"), message="Data from table: 1 pairs").data_hash
    made = release(shop, checkpoint=checkpoint("f" * 64), reports={}, decision=decided("f" * 64, data))
    remember(shop, source_for(shop, Origin(preset="demo"), replace=True))
    version_data(shop, accepted("2"), message="Data from catalog: 480 pairs")
    restore(shop, made, fetch_release(shop, made.version, data=True))
    assert source_for(shop, Origin()) == before


# ---------------------------------------------------------------- what cannot be known
@pytest.mark.parametrize("lost", ["pictures.csv", "対応.yaml"])
def test_a_table_or_mapping_that_is_gone_is_named_with_the_remedy(shop: Layout, table: Path, lost: str) -> None:
    (table / lost).unlink()
    with pytest.raises(EntityClipError, match=r"if it has moved.*--replace-source") as caught:
        source_for(shop, Origin()).open(shop, progress=False)
    assert str(table / lost) in str(caught.value)


def test_a_path_that_was_never_there_is_named_before_a_workspace_is_made(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "new")
    wrong = source_for(layout, Origin(source="grocery", path=tmp_path / "nowhere"))
    with pytest.raises(EntityClipError, match="nowhere") as caught:
        wrong.require_paths(layout)
    assert "moved" not in str(caught.value)
    assert not layout.root.exists()
    source_for(layout, Origin(preset="demo")).require_paths(layout)  # the built-in catalogue is drawn later


def test_a_run_with_such_a_path_ends_before_a_server_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.cli.run._retrain", lambda **_: pytest.fail("the run began"))
    words = ["run", "--workspace", str(tmp_path / "new"), "--source", "grocery", "--source-path", str(tmp_path / "no")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert "SourceError" in done.stderr


def test_an_older_workspace_needs_its_source_once(workspace: Layout, accepted: Accepted, table: Path) -> None:
    version_data(workspace, accepted("1"), message="Data from table: 1 pairs\n\nSet aside: email 3")
    with pytest.raises(ConfigError, match=r"'table'.*--source table --source-path"):
        source_for(workspace, Origin())
    with pytest.raises(ConfigError, match="its data come from: table;"):
        source_for(workspace, Origin(preset="demo"))
    assert source_for(workspace, Origin(preset="table", path=table)).path == str(table)


def test_nothing_named_and_nothing_remembered_makes_no_workspace(tmp_path: Path) -> None:
    for refused in (retrain.fn, backfill.fn):
        with pytest.raises(ConfigError, match="--preset demo"):
            refused(workspace=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConfigError, match="--preset or --source"):
        source_for(Layout(tmp_path / "new"), Origin(path=tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "{}", '{"preset": "demo"', "[]", '{"preset": 1, "hidden": true}'])
def test_a_damaged_memory_is_an_error_and_no_licence(shop: Layout, text: str) -> None:
    shop.source.write_text(text)
    for named in (Origin(), Origin(preset="demo")):
        with pytest.raises(ConfigError, match=r"source\.json.*--replace-source"):
            source_for(shop, named)
    assert source_for(shop, Origin(preset="demo"), replace=True).source == "catalog"


def test_a_memory_that_was_deleted_is_no_licence_either(shop: Layout) -> None:
    shop.source.unlink()
    with pytest.raises(ConfigError, match="its data come from: table;"):
        source_for(shop, Origin(preset="demo"))


def test_a_path_that_no_json_can_hold_is_refused(workspace: Layout, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="UTF-8"):
        source_for(workspace, Origin(preset="table", path=tmp_path / "\udc8e\udcca"))


def test_a_line_break_in_a_path_makes_no_second_line_of_a_commit(workspace: Layout, tmp_path: Path) -> None:
    remember(workspace, source_for(workspace, Origin(preset="table", path=tmp_path / "a\n\nData from catalog: 1")))
    done = subprocess.run(["git", "log", "-1", "--format=%B"], cwd=workspace.root, capture_output=True, text=True)
    assert len(done.stdout.strip().splitlines()) == 1


def test_opening_a_workspace_again_leaves_the_memory(shop: Layout) -> None:
    before = shop.source.read_bytes()
    open_workspace(shop.root)
    assert shop.source.read_bytes() == before
