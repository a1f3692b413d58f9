"""Checks of the folders given to commands, before anything is read or deleted."""

from __future__ import annotations

from pathlib import Path

from entityclip.data import pairs
from entityclip.errors import ConfigError, DataError
from entityclip.paths import DataLayout, Layout, RunLayout
from entityclip.storage import atomic_write, target_name


def replaceable(folder: Path) -> DataLayout:
    """``folder``, if ingest may replace it: it is new, empty, or holds only files of ingest and explain."""
    data = DataLayout(folder)
    tables = (data.pairs, data.entities, data.explanations, data.source_provided, data.near_duplicates, data.labels)
    ours = {path.name for path in (*tables, data.marker, data.rejected)}
    found = sorted(p.name for p in folder.iterdir()) if folder.exists() else []
    strange = [name for name in found if target_name(name) not in ours]
    _require_unversioned(folder)
    if strange:
        raise ConfigError(
            f"{folder}: holds {strange[0]}, which would be deleted; choose a new folder, or one that ingest wrote"
        )
    return data


def _require_unversioned(folder: Path) -> None:
    pointer = Path(f"{folder.resolve()}.dvc")
    if pointer.exists():
        raise ConfigError(
            f"{folder}: {pointer.name} versions it, so only the main job may replace it; choose another folder"
        )


def unversioned(folder: Path) -> DataLayout:
    """``folder``, if it is complete and a command may add a table to it."""
    data = DataLayout(folder)
    pairs.require_complete(data)
    _require_unversioned(folder)
    return data


def explained(folder: Path) -> DataLayout:
    """``folder``, if it is complete and has explanations."""
    data = DataLayout(folder)
    pairs.require_complete(data)
    if not data.explanations.is_dir():
        raise DataError(f"{folder}: no explanations yet; run: entityclip explain {folder}")
    return data


def content_hash(data: DataLayout) -> str:
    """Hash of everything that training reads; equal rows give equal hashes."""
    from entityclip.model.checkpoint_card import file_sha256

    files = [path for folder in (data.pairs, data.entities, data.explanations) for path in pairs.shards(folder)]
    return pairs.digest(*(part for path in files for part in (path.name, file_sha256(path))))


def claim(run: RunLayout, key: str) -> None:
    """Reject a folder of another training run: ``fit`` would resume from its state."""
    run.root.mkdir(parents=True, exist_ok=True)
    if not run.key.exists():
        if any(path != Layout(run.root).work for path in run.root.iterdir()):
            raise ConfigError(f"{run.root}: holds other files than a run of this command; choose a new folder")
        atomic_write(run.key, key)
    elif run.key.read_text() != key:
        raise ConfigError(f"{run.root}: holds a run with other data, settings or code; choose a new folder")
