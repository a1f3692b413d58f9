"""The wheel, outside a clone: everything that the pipeline needs is in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from entityclip.paths import Layout
from flows.workspace.registry import champion

ROOT = Path(__file__).parents[1]
PARTS = ("entityclip", "flows", "expectations", "bentos", "pyproject.toml", "README.md", "LICENSE", "requirements.lock")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bin`` of a new environment with the wheel, and with the libraries of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    (source := folder / "source").mkdir()
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", folder, source], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (wheel,) = folder.glob("*.whl")
    inside = [f"--python={folder}/venv/bin/python", "install", *offline, "--ignore-installed"]
    subprocess.run([*pip, *inside, wheel], check=True)
    (site,) = (folder / "venv" / "lib").glob("python3*/site-packages")
    (site / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    shutil.rmtree(source)
    return folder / "venv" / "bin"


@pytest.mark.slow
def test_the_whole_pipeline_runs_from_a_wheel_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["PATH"] = f"{installed}:{environment['PATH']}"

    def run(*command: object) -> str:
        done = subprocess.run(
            [str(part) for part in command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    origin = run(
        installed / "python",
        "-c",
        "import entityclip, bentos.build.requirements as r; print(entityclip.__file__, r.LOCK)",
    )
    assert [Path(part).is_relative_to(installed.parent) for part in origin.split()] == [True, True]
    assert "drawn products" in run(installed / "entityclip", "demo", "--help")
    answer = json.loads(
        run(installed / "entityclip", "run", "--preset", "tiny", "--workspace", "shop", "--json").splitlines()[-1]
    )
    assert Path(answer["report"]).is_file()
    layout = Layout(tmp_path / "shop")
    assert champion(layout) is not None
    hashed = next(layout.bento_home.rglob("requirements*.txt")).read_text(encoding="utf-8")
    assert "--hash=sha256:" in hashed
