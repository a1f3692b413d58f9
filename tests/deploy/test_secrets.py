"""What is secret or large is neither copied into an image nor committed.

Docker itself is not used: docker-py computes what a client would send, by the rules of ``.dockerignore``.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("entityclip", "bentos", "flows", "expectations", "pyproject.toml", "requirements.lock", "prefect.yaml")
COPIED = {"requirements.lock", "deploy/install.py"}
"""What ``deploy/Dockerfile`` copies by name."""
BESIDE = ("LICENSE", "README.md", "requirements-cpu.lock", "deploy", ".dockerignore")
"""What may go along."""
KEPT_OUT = (
    ".git/config",
    ".venv/bin/python",
    ".env",
    ".dvc/config.local",
    ".service/keys.json",
    ".service/feedback.sqlite",
    ".service/sessions.secret",
    ".prefect/prefect.db",
    ".entityclip/bentoml/models/m/weights",
    "build/demo/.service/keys.json",
    "build/demo/ledger.sqlite",
    "ledger.sqlite",
    "ledger.sqlite-wal",
    "data/pairs/00000.parquet",
    "model/model.safetensors",
    "feedback/pictures/1.jpg",
    "商品/写真.jpg",
    "deploy/prometheus/key",
    "deploy/nginx/tls/key.pem",
    "expectations/gx/uncommitted/config_variables.yml",
    "entityclip/__pycache__/errors.cpython-311.pyc",
    "entityclip/cli/.env",
    "flows/keys.json",
    "flows/sessions.secret",
    "flows/ledger.sqlite",
    "bentos/server.key",
    "bentos/tls.pem",
)
"""Files that a working copy may hold and an image must not."""
SECRETS = ("deploy/prometheus/key", "deploy/nginx/tls/key.pem", ".service/keys.json", "ledger.sqlite", ".env")


def context(root: Path) -> set[str]:
    """Files that ``docker build -f deploy/Dockerfile`` would send from ``root``."""
    ignored = root / ".dockerignore"
    lines = ignored.read_text().splitlines() if ignored.exists() else []
    rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    found = exclude_paths(str(root), rules, dockerfile="deploy/Dockerfile")
    return {Path(name).as_posix() for name in found if (root / name).is_file()}


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def working_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files under version control, and beside them what work leaves in such a folder."""
    root = tmp_path_factory.mktemp("copy")
    for name in tracked():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    for name in KEPT_OUT:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"secret")
    return root


def test_an_image_holds_no_key_no_ledger_and_no_picture(working_copy: Path) -> None:
    assert context(working_copy) & set(KEPT_OUT) == set()


def test_an_image_holds_every_source_that_it_needs(working_copy: Path) -> None:
    needed = {name for name in tracked() if name.split("/")[0] in NEEDED}
    assert needed | COPIED <= context(working_copy)
    assert {name.split("/")[0] for name in context(working_copy)} <= {*NEEDED, *BESIDE}


@pytest.mark.parametrize("name", SECRETS)
def test_git_does_not_take_a_secret(name: str) -> None:
    assert subprocess.run(["git", "check-ignore", "--quiet", "--no-index", name], cwd=ROOT).returncode == 0
