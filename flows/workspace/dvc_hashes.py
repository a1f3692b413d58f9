"""The hashes by which DVC names files and folders, computed from the bytes on disk."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from entityclip.errors import WorkspaceError


def file_hash(path: Path) -> str:
    """MD5 of a file, which is its name in DVC."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def folder_hash(root: Path) -> str:
    """DVC's hash of a folder, computed from the bytes on disk.

    ``dvc status`` relies on times and sizes, and does not notice a damaged cache object that it checked out.
    """
    files = sorted(p for p in root.rglob("*") if p.is_file())
    with ThreadPoolExecutor() as pool:
        entries = [
            {"md5": md5, "relpath": p.relative_to(root).as_posix()}
            for p, md5 in zip(files, pool.map(file_hash, files), strict=True)
        ]
    entries.sort(key=lambda e: e["relpath"])
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest() + ".dir"


def pointer_hash(text: str) -> str:
    """The hash that a ``.dvc`` file names."""
    try:
        return str(yaml.safe_load(text)["outs"][0]["md5"])
    except (yaml.YAMLError, LookupError, TypeError) as error:
        raise WorkspaceError(f"{text[:60]!r}: not a .dvc file; restore it: git checkout HEAD~1 -- FILE") from error
