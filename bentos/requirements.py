"""What a Bento installs: the serving libraries and all that they need, in the versions that stand here."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

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


def serving_requirements(*, onnx: bool = False) -> list[str]:
    """``name==version`` of everything that serving needs, sorted; what these need in turn included.

    With ``onnx``, those of exported towers as well. A requirement that is not installed on this platform is left to
    the installer on the other one.
    """
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
        # The local part (+cpu) names a build that the usual registries do not have.
        pins[canonicalize_name(name)] = Version(found.version).public
        open_ends += [
            (canonicalize_name(r.name), frozenset(r.extras))
            for r in map(Requirement, found.requires or [])
            if _applies(r, extras)
        ]
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    """Whether this platform, with these extras, asks for ``requirement``."""
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in extras | {""})
