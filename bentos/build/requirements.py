"""Requirements of a Bento: the serving libraries and their dependencies, in the installed versions, with hashes."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from entityclip.paths import PackageLayout

SERVING = (
    "bentoml",
    "faiss-cpu",
    "filelock",
    "httptools",
    "itsdangerous",
    "jinja2",
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
"""Libraries that service, pages, predictor and model import, and the HTTP parser in C that uvicorn uses."""

ONNX = ("onnxruntime",)
"""Runtime of exported towers."""

LABELS = ("onnxruntime", "rapidocr")
"""Reader of labels."""

SIGNING = ("model-signing", "pyopenssl")
"""Checks the signatures of packages; left out where the extra ``signing`` is not installed."""


def _lock() -> Path:
    """``requirements.lock`` of a clone, or as a wheel has installed it."""
    clone = Path(__file__).resolve().parents[2] / "requirements.lock"
    if clone.is_file():
        return clone
    try:
        installed = distribution("entityclip").files or ()
    except PackageNotFoundError:  # the sources alone, as in a Bento
        return clone
    return next((Path(str(file.locate())) for file in installed if file.name == clone.name), clone)


LOCK = _lock()
"""Tested versions and their hashes."""


def package_requirements(package: PackageLayout) -> tuple[list[str], list[str], str]:
    """What a service on this package installs: ``serving_requirements``, then ``hashed_requirements``."""
    from entityclip.model.onnx_runtime import decisions  # loads torch

    onnx = any(decision.ships for decision in decisions(package.checkpoint.exported).values())
    labels = package.labels.exists()
    return serving_requirements(onnx=onnx, labels=labels), *hashed_requirements(onnx=onnx, labels=labels)


def serving_requirements(*, onnx: bool = False, labels: bool = False) -> list[str]:
    """``name==version`` of the serving libraries and their dependencies, sorted.

    ``onnx`` adds those of exported towers, ``labels`` those of the reader. A requirement that is not installed on this
    platform is left to the installer on the target platform.
    """
    # The local part (+cpu) names a build that the usual registries do not have.
    return [
        f"{name}=={Version(version).public}" for name, version in sorted(_installed(onnx=onnx, labels=labels).items())
    ]


def hashed_requirements(*, onnx: bool = False, labels: bool = False, lock: Path = LOCK) -> tuple[list[str], str]:
    """The same requirements with the hashes of ``lock``; or an empty list and the reason.

    pip accepts hashes for all packages or for none, and with hashes installs only listed packages. A Bento's image
    runs Linux, so that a list from another system would lack packages.
    """
    known = _locked(lock)
    wanted = [f"{name}=={version}" for name, version in sorted(_installed(onnx=onnx, labels=labels).items())]
    missing = [requirement for requirement in wanted if not known.get(requirement)]
    if sys.platform != "linux":
        return [], f"a Bento runs on Linux, and this is {sys.platform}"
    if missing:
        return [], f"{lock} has no hash of {', '.join(missing[:5])}{' and others' if missing[5:] else ''}"
    return [f"{requirement} {known[requirement]}" for requirement in wanted], ""


def _locked(lock: Path) -> dict[str, str]:
    """``name==version`` -> its ``--hash=...`` options; empty if the file does not exist."""
    lines = lock.read_text(encoding="utf-8").replace("\\\n", "").splitlines() if lock.is_file() else []
    pinned = {found[0]: line for line in lines if (found := re.match(r"\S+==[^\s;]+", line))}
    return {requirement: " ".join(re.findall(r"--hash=\S+", line)) for requirement, line in pinned.items()}


def _installed(*, onnx: bool, labels: bool) -> dict[str, str]:
    """Name -> installed version of the serving libraries and their dependencies."""
    pins: dict[str, str] = {}
    wanted = (*SERVING, *SIGNING, *(ONNX if onnx else ()), *(LABELS if labels else ()))
    open_ends: list[tuple[str, frozenset[str]]] = [(name, frozenset()) for name in wanted]
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
    """Whether ``requirement`` applies to this platform with these extras."""
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in extras | {""})
