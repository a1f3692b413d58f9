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
    assert release(tmp_path, "status") == {"decided": None, "canary": None, "workers": {}}
    assert release(tmp_path, "activate", first)["decided"]["champion"] == first
    assert release(tmp_path, "activate", second)["decided"] == {
        "champion": second,
        "previous": first,
        "challenger": None,
        "share": 0.0,
        "canary": None,
    }
    assert release(tmp_path, "rollback") == {"decided": release(tmp_path, "status")["decided"], "workers": 0}
    shadowed = release(tmp_path, "shadow", first, "--challenger", second, "--share", "0.5")["decided"]
    assert (shadowed["champion"], shadowed["challenger"], shadowed["share"]) == (first, second, 0.5)


def test_a_canary_is_refused_with_the_reason(tmp_path: Path, packages: tuple[str, str]) -> None:
    first, second = packages

    def refusal(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["release", "canary", *arguments, "--state", str(tmp_path)])
        assert done.exit_code == 1, done.output
        return f"{done.output}{done.exception}"

    assert "no release was activated" in refusal(second)
    release(tmp_path, "activate", first)
    assert "no service runs on this state folder" in refusal(second, "--for", "2h")
    assert "--for is '2 weeks'; expected a number and a unit: 90s, 30m, 2h or 1d" in refusal(second, "--for", "2 weeks")
    assert "no canary runs" in refusal("--stop")
    assert "expected either the PACKAGE of the challenger, or --stop" in refusal(second, "--stop")
