"""Ids are hashes of content: the same row has the same id in every version, on every machine."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

from entityclip.schemas import Split


def digest(*parts: str | bytes, length: int = 16) -> str:
    """Hex id of ``parts``; unambiguous, since every part is hashed with its length."""
    h = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        h.update(len(raw).to_bytes(8, "big") + raw)
    return h.hexdigest()[:length]


_SUFFIXES = {".py", ".json", ".yaml", ".jinja"}


def sources_hash(package: Path) -> str:
    """Hash of a package's sources, and of the JSON files, YAML files and prompts beside them."""
    files = sorted(p for p in package.rglob("*") if p.suffix in _SUFFIXES and "uncommitted" not in p.parts)
    return digest(*(part for p in files for part in (p.relative_to(package).as_posix(), p.read_bytes())))


def normalised(name: str) -> str:
    """``name`` normalised for ids and lookups: NFKC, case-folded, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def entity_id(entity: str) -> str:
    """Stable id of an entity's name."""
    return digest("entity", normalised(entity))


def pair_id(image_sha256: str, caption: str, entity: str) -> str:
    """Stable id of a picture with its caption."""
    return digest("pair", image_sha256, caption, normalised(entity))


def split_of(key: str, *, val: float, test: float, sealed: float = 0.0) -> Split:
    """The split of ``key``, by its hash only: it does not change when other rows are added or removed.

    Pass a pair's id to split by picture, an entity's id to hold an entity out of training. A sealed share comes from
    train alone.
    """
    u = int(digest("split", key), 16) / 16**16
    ends: dict[Split, float] = {"test": test, "val": test + val, "sealed": test + val + sealed}
    return next((split for split, end in ends.items() if u < end), "train")
