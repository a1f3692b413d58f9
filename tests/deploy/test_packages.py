"""Debian packages that tests need: one list, installed where one is missing, and no test that quietly goes without."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CI = Path(__file__).resolve().parents[2] / ".ci"
NOT_A_PACKAGE = "entityclip-is-no-debian-package"

pytestmark = pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="needs Debian")


@pytest.fixture
def ci() -> Iterator[Path]:
    """A copy of ``.ci`` that every user may read."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(CI, copy := Path(folder) / "ci")
        Path(folder).chmod(0o755)
        yield copy


def install(ci: Path, **how: object) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run the script with an ``apt-get`` that notes what it was called with, and knows packages after an update."""
    calls, programs = ci.parent / "calls", ci.parent / "bin"
    programs.mkdir()
    apt = programs / "apt-get"
    apt.write_text(f'#!/bin/sh\necho "$*" >> {calls}\n[ "$1" = update ] || grep -q update {calls}\n')
    apt.chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    script = ["bash", ci / "install-packages"]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False, **how)  # type: ignore[call-overload]
    return done, calls.read_text().splitlines() if calls.exists() else []


def test_nothing_is_installed_where_nothing_is_missing(ci: Path) -> None:
    (ci / "packages.txt").write_text("# a comment\ndpkg  # another\n\n")
    done, calls = install(ci)
    assert (done.returncode, done.stdout + done.stderr, calls) == (0, "", [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")
def test_what_is_missing_is_installed_even_where_packages_were_never_listed(ci: Path) -> None:
    (ci / "packages.txt").write_text(f"dpkg\n{NOT_A_PACKAGE}  # 日本語\n")
    done, calls = install(ci)
    assert done.returncode == 0, done.stderr
    assert [call.split()[0] for call in calls] == ["install", "update", "install"]
    assert all(call.endswith(f" {NOT_A_PACKAGE}") for call in calls if call.startswith("install"))


def test_who_is_not_root_learns_what_is_missing(ci: Path) -> None:
    (ci / "packages.txt").write_text(f"dpkg\n{NOT_A_PACKAGE}\n")
    done, calls = install(ci, **({"user": 65534} if os.geteuid() == 0 else {}))
    assert (done.returncode, calls) == (1, [])
    assert done.stderr.endswith(f"run it as root to install: {NOT_A_PACKAGE}\n")


def test_continuous_integration_installs_the_list_before_it_tests() -> None:
    lines = (CI / "run").read_text().splitlines()
    tests = next(number for number, line in enumerate(lines) if line.startswith("make test"))
    assert lines.index(".ci/install-packages") < tests


def test_a_missing_program_fails_in_continuous_integration_and_skips_elsewhere(
    program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="Debian's package nginx"):
        program("no-such-program", package="nginx")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"sudo \.ci/install-packages"):
        program("no-such-program", package="nginx")


def test_a_program_of_a_package_that_is_not_on_the_list_is_refused(program: Callable[..., Path]) -> None:
    with pytest.raises(AssertionError, match="add coreutils to"):
        program("ls", package="coreutils")
