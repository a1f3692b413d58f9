"""The source of a workspace's data: remembered at the first run, and replaced only on explicit request.

A run that names no source uses the one in the workspace's ``source.json``. The file is committed, so that a clone has
it, and a rollback restores that of the release.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError

from entityclip.data.sources import SourceOptions, open_source, to_be_made
from entityclip.data.sources.base import Source
from entityclip.errors import ConfigError, EntityClipError, faults
from entityclip.paths import Layout
from entityclip.schemas import Record
from entityclip.training.presets import preset, usual_preset
from flows.workspace.repository import Repository, exclusive

_DATA_FROM = re.compile(r"Data from (\w+): ")
"""Start of the message of a data version's commit; see ``reprocess_quarantine.summary``."""


PresetName = Literal["demo", "photos", "grocery", "table", "tiny"]
SourceName = Literal["catalog", "grocery", "table"]
Device = Literal["cpu", "cuda"]


class Origin(SourceOptions):
    """The source as the caller of a run names it."""

    preset: str | None = None


class WorkspaceSource(Record):
    """The source of a workspace's data. The content of its table and mapping may change, their paths may not."""

    preset: str = Field(description="Splits and training settings to start from.")
    source: str = Field(description="catalog, grocery or table.")
    path: str | None = Field(description="Path of the source; relative if it is inside the workspace.")
    mapping: str | None = Field(description="Path of the mapping, likewise.")
    products: int | None = Field(description="Products to draw, for the built-in catalogue.")

    def open(self, layout: Layout, *, progress: bool) -> Source:
        """Open the source; errors as for ``open_source``, with a remedy if a path is missing."""
        try:
            return open_source(self.options(layout), layout=layout, progress=progress)
        except EntityClipError as error:
            if self._paths_exist(layout) or WorkspaceSource.read(layout.source) != self:
                raise
            moved = "if it has moved, run once with its new path and --replace-source"
            raise type(error)(f"{error}; {moved}") from error

    def require_paths(self, layout: Layout) -> None:
        """Raise what ``open`` would where a path is missing; where none is, nothing is read."""
        if not self._paths_exist(layout) and not self.missing(layout):
            self.open(layout, progress=False)

    def _paths_exist(self, layout: Layout) -> bool:
        options = self.options(layout)
        return all(place.exists() for place in (options.path, options.mapping) if place)

    def missing(self, layout: Layout) -> str:
        """What has to be drawn or fetched first, and where; empty if nothing is missing."""
        return to_be_made(self.options(layout), layout=layout)

    def options(self, layout: Layout) -> SourceOptions:
        """The same with full paths."""
        path, mapping = (layout.root / text if text else None for text in (self.path, self.mapping))
        return SourceOptions(source=self.source, path=path, mapping=mapping, products=self.products)

    def __str__(self) -> str:
        mapping = f"mapping {self.mapping}" if self.mapping else None
        products = f"{self.products} products" if self.products is not None else None
        return ", ".join(filter(None, (self.source, self.path, mapping, products, f"preset {self.preset}")))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The record at ``path``; None if there is no file.

        Raises:
            ConfigError: The file is damaged.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            reason = f"{path}: {faults(error)}; git checkout HEAD -- {path.name}, or name the source again"
            raise ConfigError(f"{reason} with --replace-source") from error


# ---------------------------------------------------------------- which one
def source_for(layout: Layout, named: Origin, *, replace: bool = False) -> WorkspaceSource:
    """The source that a run takes: the remembered one, or the one that its caller names where that is allowed.

    What the caller leaves out is as remembered, except with ``replace`` and another kind or preset.

    Args:
        layout: The workspace.
        named: Source as the caller names it.
        replace: Allow another source than the workspace's.

    Raises:
        ConfigError: No source is remembered or named; or the one that is named would replace the workspace's.
    """
    known = None if replace and (named.source or named.preset) else WorkspaceSource.read(layout.source)
    if named == Origin():
        return _remembered(layout, known)
    wanted = _completed(layout, named, known)
    if not replace and _has_data(layout):
        _require_same(layout, known, wanted)
    return wanted


def remember(layout: Layout, source: WorkspaceSource) -> None:
    """Commit the source as the workspace's; does nothing if it is unchanged."""
    with exclusive(layout):
        source.write(layout.source)
        Repository(layout.root).commit(f"Source: {' '.join(str(source).split())}", [layout.source])


def _remembered(layout: Layout, known: WorkspaceSource | None) -> WorkspaceSource:
    if known is None:
        kind = _kind_of_data(layout)
        held = f"its data come from {kind!r}, but of which path is not known" if kind else "it has no source yet"
        raise ConfigError(
            f"{layout.root}: {held}; name it once by hand: entityclip run --workspace {layout.root} "
            "--source table --source-path ... --mapping ..., or --preset demo for the built-in sample"
        )
    return known


def _completed(layout: Layout, named: Origin, known: WorkspaceSource | None) -> WorkspaceSource:
    kind = named.source or (preset(named.preset).source if named.preset else known.source if known else None)
    if kind is None:
        raise ConfigError(f"{layout.root}: has no source yet; name --preset or --source beside the path")
    same = known if known and known.source == kind else None
    usual = same.preset if same else usual_preset(kind)
    return WorkspaceSource(
        preset=named.preset or usual,
        source=kind,
        path=_stored(layout, named.path, same.path if same else None),
        mapping=_stored(layout, named.mapping, same.mapping if same else None),
        products=named.products if named.products is not None or not same else same.products,
    )


def _require_same(layout: Layout, known: WorkspaceSource | None, wanted: WorkspaceSource) -> None:
    """Refuse to replace the workspace's data by those of another source."""
    kind = _kind_of_data(layout)
    if known is not None and known != wanted:
        held = str(known)
    elif known is None and kind not in (None, wanted.source):
        held = str(kind)
    else:
        return
    raise ConfigError(
        f"{layout.root}: its data come from: {held}; this run names: {wanted}; leave the source out to continue with "
        "it, name another --workspace, or replace the data with --replace-source"
    )


# ---------------------------------------------------------------- state of the workspace
def _has_data(layout: Layout) -> bool:
    return layout.data_dvc.exists()


def _kind_of_data(layout: Layout) -> str | None:
    """Kind of source of the versioned data, from their commit messages; None if unknown."""
    if not _has_data(layout) or not (layout.root / ".git").exists():
        return None
    subjects = Repository(layout.root).git_or_none("log", "--format=%s", "--", layout.data_dvc.name) or ""
    return next((found[1] for line in subjects.splitlines() if (found := _DATA_FROM.match(line))), None)


def _stored(layout: Layout, named: Path | None, known: str | None) -> str | None:
    """The path to keep in the record; the known one if none, or the same file, is named."""
    if named is None:
        return known
    # Not resolved: a link like `current` must keep pointing to the newest delivery.
    path = Path(os.path.abspath(named))  # noqa: PTH100
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{str(path)!r}: the name is not UTF-8; rename it, or name a link to it") from None
    if known and _same_file(layout.root / known, path):
        return known
    real = path.resolve()
    return real.relative_to(layout.root).as_posix() if real.is_relative_to(layout.root) else str(path)


def _same_file(known: Path, named: Path) -> bool:
    try:
        return known.samefile(named)
    except OSError:
        return known == named
