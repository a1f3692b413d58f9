"""What a Bento installs: the serving libraries and all that they need, in the versions that stand here, with hashes."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

SERVING = (
    "bentoml",
    "faiss-cpu",
    "filelock",
    "httptools",
    "numpy",
    "open_clip_torch",
    "pandas",
    "pillow",
    "psutil",
    "pyarrow",
    "pydantic",
    "safetensors",
    "torch",
    "torchvision",
    "tqdm",
    "transformers",  # tokenizers of multilingual towers
    "typer",
    "uvloop",
)
"""What the service, the predictor and the model import; HTTP in C, which uvicorn takes where it is installed."""

ONNX = ("onnxruntime",)
"""What exported towers run on."""

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
"""Versions and hashes that this project was tested with."""


def serving_requirements(*, onnx: bool = False) -> list[str]:
    """``name==version`` of everything that serving needs, sorted; what these need in turn included.

    With ``onnx``, those of exported towers as well. A requirement that is not installed on this platform is left to
    the installer on the other one.
    """
    # The local part (+cpu) names a build that the usual registries do not have.
    return [f"{name}=={Version(version).public}" for name, version in sorted(_installed(onnx=onnx).items())]


def hashed_requirements(*, onnx: bool = False, lock: Path = LOCK) -> tuple[list[str], str]:
    """The same with the hashes of ``lock``; or nothing, and the reason why these cannot be had.

    An installer takes hashes for every file or for no file, and then installs nothing beside what is listed. A Bento's
    image runs Linux, so that the list of another system would lack packages.
    """
    known = _locked(lock)
    wanted = [f"{name}=={version}" for name, version in sorted(_installed(onnx=onnx).items())]
    missing = [requirement for requirement in wanted if not known.get(requirement)]
    if sys.platform != "linux":
        return [], f"a Bento runs on Linux, and this is {sys.platform}"
    if missing:
        return [], f"{lock} has no hash of {', '.join(missing[:5])}{' and others' if missing[5:] else ''}"
    return [f"{requirement} {known[requirement]}" for requirement in wanted], ""


def _locked(lock: Path) -> dict[str, str]:
    """``name==version`` -> its options ``--hash=...``; empty where there is no such file."""
    lines = lock.read_text(encoding="utf-8").replace("\\\n", "").splitlines() if lock.is_file() else []
    pinned = {found[0]: line for line in lines if (found := re.match(r"\S+==[^\s;]+", line))}
    return {requirement: " ".join(re.findall(r"--hash=\S+", line)) for requirement, line in pinned.items()}


def _installed(*, onnx: bool) -> dict[str, str]:
    """Name -> version of what serving needs, as it is installed here."""
    pins: dict[str, str] = {}
    open_ends: list[tuple[str, frozenset[str]]] = [(name, frozenset()) for name in (*SERVING, *(ONNX if onnx else ()))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while open_ends:
        name, extras = end = open_ends.pop()
        if end in seen:
            continue
        seen.add(end)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        pins[canonicalize_name(name)] = found.version
        open_ends += [
            (canonicalize_name(r.name), frozenset(r.extras))
            for r in map(Requirement, found.requires or [])
            if _applies(r, extras)
        ]
    return pins


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    """Whether this platform, with these extras, asks for ``requirement``."""
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in extras | {""})
