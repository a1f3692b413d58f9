"""What commands require of the folders that they are given, before anything is read or deleted."""

from __future__ import annotations

from pathlib import Path

from entityclip.data import pairs
from entityclip.errors import ConfigError, DataError
from entityclip.paths import DataLayout, Layout, RunLayout
from entityclip.storage import atomic_write, target_name


def replaceable(folder: Path) -> DataLayout:
    """``folder``, if ingest may empty it: it is new, empty, or holds nothing but what ingest and explain write."""
    data = DataLayout(folder)
    ours = {
        p.name for p in (data.pairs, data.entities, data.explanations, data.source_provided, data.marker, data.rejected)
    }
    found = sorted(p.name for p in folder.iterdir()) if folder.exists() else []
    strange = [name for name in found if target_name(name) not in ours]
    pointer = Path(f"{folder.resolve()}.dvc")
    if pointer.exists():
        raise ConfigError(
            f"{folder}: {pointer.name} versions it, so that only the main job may replace it; name another"
        )
    if strange:
        raise ConfigError(
            f"{folder}: holds {strange[0]}, which would be deleted; name a new folder, or one that ingest wrote"
        )
    return data


def explained(folder: Path) -> DataLayout:
    """``folder``, if it is complete and has explanations."""
    data = DataLayout(folder)
    pairs.require_complete(data)
    if not data.explanations.is_dir():
        raise DataError(f"{folder}: no explanations yet; run: entityclip explain {folder}")
    return data


def content_hash(data: DataLayout) -> str:
    """Hash of everything that training reads; the same rows give the same bytes."""
    from entityclip.model.checkpoint_card import file_sha256

    files = [path for folder in (data.pairs, data.entities, data.explanations) for path in pairs.shards(folder)]
    return pairs.digest(*(part for path in files for part in (path.name, file_sha256(path))))


def claim(run: RunLayout, key: str) -> None:
    """Refuse a folder in which something else was trained: ``fit`` would take its state or its model for ours."""
    run.root.mkdir(parents=True, exist_ok=True)
    if not run.key.exists():
        if any(path != Layout(run.root).work for path in run.root.iterdir()):
            raise ConfigError(f"{run.root}: holds something else than a run of this command; name a new folder")
        atomic_write(run.key, key)
    elif run.key.read_text() != key:
        raise ConfigError(f"{run.root}: a run of other data, settings or code is kept there; name a new folder")
