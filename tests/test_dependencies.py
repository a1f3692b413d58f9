"""What is installed: bounded by the next major version, held by hashes, and from no address that a file names."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bentos.build.requirements import hashed_requirements, serving_requirements

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
DIRECT = [Requirement(line) for group in GROUPS for line in group]
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-cpu.lock")


# ---------------------------------------------------------------- what the files say
def entries(lock: Path) -> list[str]:
    """One line for each requirement, with its hashes."""
    return lock.read_text().replace("\\\n", "").splitlines()


def names(lock: Path) -> set[str]:
    return {canonicalize_name(line.partition("==")[0]) for line in entries(lock)}


@pytest.mark.parametrize("requirement", [*DIRECT, *map(Requirement, PROJECT["build-system"]["requires"])], ids=str)
def test_a_dependency_ends_before_a_major_version_that_was_never_tried(requirement: Requirement) -> None:
    assert any(part.operator in ("<", "<=", "==", "~=") for part in requirement.specifier)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_file_has_a_hash_and_no_lock_names_an_address(lock: Path) -> None:
    for line in entries(lock):
        assert re.match(r"[a-z0-9-]+==[^ ]+( ;[^#]+?)?( +--hash=sha256:[0-9a-f]{64})+$", line), line[:80]
    assert "//" not in lock.read_text()
    assert len(entries(lock)) > 300


@pytest.mark.parametrize("path", ["Makefile", "pyproject.toml", "deploy/install.py", "deploy/Dockerfile", "README.md"])
def test_no_package_index_stands_in_a_file(path: str) -> None:
    assert not re.search(r"--(extra-)?index-url|//[^ ]*/simple|//[^ ]*/whl", (ROOT / path).read_text())


def reached_without_torch() -> set[str]:
    """Names of what is installed because of anything but torch."""
    found: set[str] = set()
    ends = [(canonicalize_name(r.name), frozenset(r.extras)) for r in DIRECT]
    seen = set()
    while ends:
        name, extras = end = ends.pop()
        if end in seen or name == "torch":
            continue
        seen.add(end)
        found.add(name)
        try:
            needs = [Requirement(line) for line in distribution(name).requires or []]
        except PackageNotFoundError:
            continue
        ends += [
            (canonicalize_name(r.name), frozenset(r.extras))
            for r in needs
            if not r.marker or any(r.marker.evaluate({"extra": e}) for e in extras | {""})
        ]
    return found


def test_the_second_lock_is_the_first_without_torch_and_what_only_its_cuda_build_needs() -> None:
    first, second = map(entries, LOCKS)
    assert [line for line in first if line in set(second)] == second
    left_out = names(LOCKS[0]) - names(LOCKS[1])
    assert {"torch", "torchvision", "triton"} <= left_out
    assert left_out & reached_without_torch() == {"torchvision"}
    assert not [name for name in names(LOCKS[1]) if name.startswith(("nvidia-cu", "cuda", "triton"))]


def test_a_bento_installs_what_the_lock_has_with_its_hashes(tmp_path: Path) -> None:
    hashed, reason = hashed_requirements(onnx=True)
    assert reason == "" or "+" in reason  # a build of torch that the lock does not know
    if not reason:
        assert [line.split()[0] for line in hashed] == serving_requirements(onnx=True)
        assert all("--hash=sha256:" in line for line in hashed)
    lock = tmp_path / "requirements.lock"
    lock.write_text("\n".join(line for line in entries(LOCKS[0]) if not line.startswith("bentoml==")))
    version = distribution("bentoml").version
    missing = f"{lock} has no hash of bentoml=={version}"
    assert hashed_requirements(lock=lock) == ([], missing) or reason
    assert hashed_requirements(lock=tmp_path / "none")[0] == []


# ---------------------------------------------------------------- really installed, from a folder of small wheels
def wheel(folder: Path, name: str, version: str) -> str:
    """Make a wheel with one empty module; its SHA-256."""
    info, path = f"{name}-{version}.dist-info", folder / f"{name}-{version}-py3-none-any.whl"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        file: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        for file, text in files.items()
    }
    record = "".join(f"{file},sha256={digest},{len(files[file])}\n" for file, digest in digests.items())
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            archive.writestr(file, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    """Two small locks, and the folder of wheels that is the package index: the usual build of torch, and others."""
    folder = tmp_path / "索引"
    folder.mkdir()
    hashes = {name: wheel(folder, name, "2.0") for name in ("other", "torch", "torchvision", "triton")}
    lines = [f"{name}==2.0 \\\n    --hash=sha256:{sha}\n" for name, sha in hashes.items()]
    (tmp_path / "requirements.lock").write_text("".join(lines))
    (tmp_path / "requirements-cpu.lock").write_text(lines[0])
    return tmp_path


def install(locks: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """Run ``deploy/install.py`` in a new environment; what it says, and what is installed there then."""
    venv.create(locks / "venv", with_pip=True)
    python = locks / "venv" / "bin" / "python"
    # No package index but the folder, whatever this machine's pip is set to.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(locks / "索引"), "PIP_CONFIG_FILE": os.devnull}
    command = [python, ROOT / "deploy" / "install.py", "--locks", locks, *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json"], env=environment, capture_output=True, text=True, check=True
    )
    found = {entry["name"]: entry["version"] for entry in json.loads(listed.stdout)}
    return done, {name: version for name, version in found.items() if name not in ("pip", "setuptools")}


def test_a_file_with_another_hash_is_not_installed_and_neither_is_any_other(locks: Path) -> None:
    wheel(locks / "索引", "other", "2.0")
    with zipfile.ZipFile(locks / "索引" / "other-2.0-py3-none-any.whl", "a") as archive:
        archive.writestr("added.py", "print('not what was locked')")
    done, installed = install(locks, "--torch", "cuda")
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert installed == {}


def test_set_up_installs_the_locked_setuptools_in_place_of_its_own(locks: Path) -> None:
    made = wheel(locks / "索引", "setuptools", "999.0")
    lock = locks / "requirements.lock"
    lock.write_text(lock.read_text() + f"setuptools==999.0 --hash=sha256:{made}\n")
    done, _ = install(locks, "--torch", "cuda")
    assert done.returncode == 0, done.stderr
    installed = subprocess.run(
        [locks / "venv/bin/python", "-c", "from importlib.metadata import version; print(version('setuptools'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert installed.stdout == "999.0\n"


def test_the_cpu_build_is_taken_where_the_index_offers_it(locks: Path) -> None:
    sha = wheel(locks / "索引", "torch", "2.0+cpu")
    wheel(locks / "索引", "torchvision", "2.0+cpu")
    done, installed = install(locks, "--torch", "cpu")
    assert done.returncode == 0, done.stderr
    assert installed == {"other": "2.0", "torch": "2.0+cpu", "torchvision": "2.0+cpu"}
    assert "The lock has no hash of it" in done.stdout
    assert f"{sha}  torch-2.0+cpu-py3-none-any.whl" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the usual build is the CPU build")
def test_set_up_prints_why_the_cpu_build_is_not_taken(locks: Path) -> None:
    wheel(locks / "索引", "torch", "1.9+cpu")
    done, installed = install(locks, "--torch", "cpu")
    assert done.returncode == 1
    assert "offers no CPU build of torch: ERROR: No matching distribution found for torch==2.0+cpu" in done.stderr
    assert installed == {}


def test_without_a_choice_the_machine_decides(locks: Path) -> None:
    done, installed = install(locks)
    assert done.returncode == 0, done.stderr
    assert installed == dict.fromkeys(("other", "torch", "torchvision", "triton"), "2.0")
    assert ("No GPU is seen, but the configured package index offers no CPU build" in done.stdout) != (
        done.stdout == "No broken requirements found.\n"
    )
