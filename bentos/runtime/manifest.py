"""Manifest of a package: the hash of every file, written last and verified before the package is served.

It detects damage and mix-ups. It is not a signature: anyone who can write to the store can also replace the manifest.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from entityclip.errors import DataError, faults
from entityclip.model.checkpoint_card import file_sha256
from entityclip.paths import PackageLayout
from entityclip.schemas import Record

ADDED_BY_BENTOML = "model.yaml"
"""File that BentoML adds to the folder of each model."""

NAMED = 3
"""Most files that an error names; the others are counted."""


class Manifest(Record):
    """Every file of a package except the manifest itself."""

    files: dict[str, str] = Field(description="Path inside the package, with / between folders -> SHA-256.")


def seal(package: PackageLayout) -> None:
    """Write the manifest of the existing files, which marks the package as complete."""
    Manifest(files=_hashed(package)).write(package.manifest)


def verify_files(package: PackageLayout) -> None:
    """Compare every file with the manifest.

    Raises:
        DataError: There is no manifest, or a file is missing, changed, not listed, or unreadable.
    """
    try:
        manifest = Manifest.model_validate_json(package.manifest.read_bytes())
        found = _hashed(package)
    except FileNotFoundError as error:
        raise DataError(
            f"{package.root}: no {package.manifest.name}, so the package is incomplete or of an older version; "
            "package the release again"
        ) from error
    except OSError as error:
        raise DataError(f"{package.root}: cannot be read: {error}") from error
    except ValidationError as error:
        raise DataError(f"{package.manifest}: not a manifest of a package: {faults(error)}; package it again") from None
    if wrong := _differences(manifest.files, found):
        more = f" (and {len(wrong) - NAMED} more)" if len(wrong) > NAMED else ""
        raise DataError(f"{package.root}: {', '.join(wrong[:NAMED])}{more}; package the release again")


def _differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """A description for each file that differs, sorted by name."""
    return [
        f"{name!r} {'is missing' if name not in found else 'is not in the manifest'}"
        if name not in found or name not in expected
        else f"{name!r} differs from the manifest"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]


def _hashed(package: PackageLayout) -> dict[str, str]:
    """SHA-256 of every file except the manifest and BentoML's own file."""
    own = {package.manifest, package.root / ADDED_BY_BENTOML}
    files: list[Path] = [path for path in sorted(package.root.rglob("*")) if path.is_file() and path not in own]
    return {path.relative_to(package.root).as_posix(): file_sha256(path) for path in files}
