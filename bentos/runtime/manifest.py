"""The manifest of a package: the hash of every file, written last and compared before the package may answer.

It shows damage and mix-ups. It is no signature: a person who can write to the store can write a manifest as well.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from entityclip.errors import DataError, faults
from entityclip.model.checkpoint_card import file_sha256
from entityclip.paths import PackageLayout
from entityclip.schemas import Record

ADDED_BY_BENTOML = "model.yaml"
"""BentoML writes it into the folder of each of its models."""

NAMED = 3
"""Files that a refusal names; it counts the others."""


class Manifest(Record):
    """Every file of a package but for the manifest itself."""

    files: dict[str, str] = Field(description="Path inside the package, with / between folders -> SHA-256.")


def seal(package: PackageLayout) -> None:
    """Write the manifest of the files that are there; the package is complete."""
    Manifest(files=_hashed(package)).write(package.manifest)


def verify_files(package: PackageLayout) -> None:
    """Compare every file with the manifest.

    Raises:
        DataError: There is no manifest, a file is missing, differs, or is not listed, or one cannot be read.
    """
    try:
        manifest = Manifest.model_validate_json(package.manifest.read_bytes())
        found = _hashed(package)
    except FileNotFoundError as error:
        raise DataError(
            f"{package.root}: no {package.manifest.name}, so the package is half-written or of an older version; "
            "package the release again"
        ) from error
    except OSError as error:
        raise DataError(f"{package.root}: cannot be read: {error}") from error
    except ValidationError as error:
        raise DataError(f"{package.manifest}: not the manifest of a package: {faults(error)}") from None
    if wrong := _differences(manifest.files, found):
        more = f" (and {len(wrong) - NAMED} more)" if len(wrong) > NAMED else ""
        raise DataError(f"{package.root}: {', '.join(wrong[:NAMED])}{more}; package the release again")


def _differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """What is wrong with each file, by name."""
    return [
        f"{name!r} {'is missing' if name not in found else 'is not in the manifest'}"
        if name not in found or name not in expected
        else f"{name!r} is not the file of the manifest"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]


def _hashed(package: PackageLayout) -> dict[str, str]:
    """SHA-256 of every file but for the manifest and what BentoML adds."""
    own = {package.manifest, package.root / ADDED_BY_BENTOML}
    files: list[Path] = [path for path in sorted(package.root.rglob("*")) if path.is_file() and path not in own]
    return {path.relative_to(package.root).as_posix(): file_sha256(path) for path in files}
