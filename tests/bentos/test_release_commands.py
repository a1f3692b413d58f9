"""``entityclip release``: which release is decided, for people and for programs. No service runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from entityclip.cli import app
from entityclip.paths import PackageLayout


@pytest.fixture
def packages(package: PackageLayout, other_package: Path) -> tuple[str, str]:
    return str(package.root), str(other_package)


def release(state: Path, *arguments: str) -> dict[str, Any]:
    """The JSON object that a command prints last."""
    done = CliRunner().invoke(app, ["release", *arguments, "--state", str(state), "--json"])
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_every_command_ends_with_the_decision(tmp_path: Path, packages: tuple[str, str]) -> None:
    first, second = packages
    assert release(tmp_path, "status") == {"decided": None, "workers": {}}
    assert release(tmp_path, "activate", first)["decided"]["champion"] == first
    assert release(tmp_path, "activate", second)["decided"] == {
        "champion": second,
        "previous": first,
        "challenger": None,
        "share": 0.0,
    }
    assert release(tmp_path, "rollback") == {"decided": release(tmp_path, "status")["decided"], "workers": 0}
    shadowed = release(tmp_path, "shadow", first, "--challenger", second, "--share", "0.5")["decided"]
    assert (shadowed["champion"], shadowed["challenger"], shadowed["share"]) == (first, second, 0.5)
