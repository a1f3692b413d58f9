"""``entityclip init DIR``: from nothing, or from a settings file alone, to a workspace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from entityclip.cli.contributed import GROUP
from entityclip.errors import ConfigError
from entityclip.paths import Layout
from entityclip.settings import WorkspaceConfig, default_config, read_config
from flows.workspace.create import open_workspace
from flows.workspace.repository import Repository

pytestmark = pytest.mark.slow

WRITER = "# 設定\nexplain:\n  writer: openai\n  model: local-7b\n  base_url: http://127.0.0.1:8000/v1\n"
HELP = """
import sys
from entityclip.cli import app
try:
    app(["--help"])
finally:
    print(sorted({"torch", "prefect", "dvc", "great_expectations", "bentoml"} & set(sys.modules)))
"""


def entityclip(*arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{path}"} if path else {})
    command = [sys.executable, "-m", "entityclip", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


SETTINGS = Path(__file__).parents[3] / "entityclip.yaml"
"""What a reader of the repository sees of the settings."""


# ---------------------------------------------------------------- the workspace
def test_init_makes_a_workspace_with_commented_settings_and_a_second_one_changes_nothing(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "商品 検索")
    assert answer(entityclip("init", layout.root, "--json")) == {
        "workspace": str(layout.root),
        "settings": str(layout.config),
        "made": True,
        "kept_settings": False,
    }
    assert layout.config.read_text(encoding="utf-8") == default_config() == SETTINGS.read_text(encoding="utf-8")
    head = Repository(layout.root).git("rev-parse", "HEAD")
    again = answer(entityclip("init", layout.root, "--json"))
    assert (again["made"], again["kept_settings"]) == (False, True)
    assert Repository(layout.root).git("rev-parse", "HEAD") == head


def test_a_folder_that_holds_settings_alone_becomes_a_workspace_and_keeps_them(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "shop")
    layout.root.mkdir()
    layout.config.write_text(WRITER, encoding="utf-8")
    assert "kept as it was" in entityclip("init", layout.root).stdout
    assert layout.config.read_text(encoding="utf-8") == WRITER
    assert Repository(layout.root).committed(layout.config) == WRITER.rstrip("\n")
    assert read_config(layout.config).explain.writer == "openai"


def test_the_first_run_makes_one_of_such_a_folder_too(tmp_path: Path) -> None:
    (tmp_path / "entityclip.yaml").write_text(WRITER, encoding="utf-8")
    assert open_workspace(tmp_path).config.read_text(encoding="utf-8") == WRITER
    assert open_workspace(tmp_path).rules.is_dir()


@pytest.mark.parametrize("text", ["promotion: [", "explain: {writer: unknown}\n", "unknown: 1\n"])
def test_settings_that_cannot_be_read_are_refused_before_anything_is_made(tmp_path: Path, text: str) -> None:
    (tmp_path / "entityclip.yaml").write_text(text)
    done = entityclip("init", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"ConfigError: {tmp_path / 'entityclip.yaml'}")
    assert [path.name for path in tmp_path.iterdir()] == ["entityclip.yaml"]
    with pytest.raises(ConfigError):
        open_workspace(tmp_path)


def test_a_folder_with_anything_else_in_it_is_refused_as_before(tmp_path: Path) -> None:
    (tmp_path / "entityclip.yaml").write_text(WRITER, encoding="utf-8")
    (tmp_path / "論文.txt").write_text("years of work")
    done = entityclip("init", tmp_path)
    assert done.returncode == 1
    assert "論文.txt" in done.stderr
    assert not (tmp_path / ".git").exists()


def test_an_init_that_was_killed_after_git_is_completed(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".dvc").mkdir()
    assert answer(entityclip("init", tmp_path, "--json"))["made"] is True
    assert set(yaml.safe_load((tmp_path / "entityclip.yaml").read_text())) == WorkspaceConfig.model_fields.keys()


# ---------------------------------------------------------------- the command
def test_help_lists_contributed_commands_without_importing_what_they_run() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    assert "init " in done.stdout, "the entry points are those of an older installation; run `make setup`"
    assert done.stdout.splitlines()[-1] == "[]"
    shown = entityclip("init", "--help").stdout
    assert "entityclip init shop-search" in shown
    assert "DIR" in shown


def test_a_contributed_command_that_cannot_be_imported_breaks_itself_alone(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin-1.0.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (plugin / "entry_points.txt").write_text(
        f"[{GROUP}]\nforecast = plugin_module:run\nlost = no_such_module:run\nsearch = plugin_module:run\n"
    )
    (tmp_path / "plugin_module.py").write_text("def run() -> None:\n    '''Tell the weather.'''\n    print('sunny')\n")
    shown = entityclip("--help", path=tmp_path)
    assert shown.returncode == 0
    assert "Tell the weather." in shown.stdout
    assert shown.stdout.count("search") == entityclip("--help").stdout.count("search")  # the domain's own one counts
    assert entityclip("forecast", path=tmp_path).stdout == "sunny\n"
    lost = entityclip("lost", path=tmp_path)
    assert (lost.returncode, lost.stderr.count("\n")) == (1, 1)
    assert "no_such_module" in lost.stderr
