"""The source protocol: rows of entities, rows of pictures, and a reason for each row that cannot be used."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Protocol

from entityclip.data.images import MAX_BYTES
from entityclip.data.pairs import entity_id
from entityclip.errors import ImageError
from entityclip.schemas import Rejection


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who added a row to the data, when, and why; empty for rows of the source itself."""

    person: str = ""
    """Names, with a comma between several."""
    day: str = ""
    """ISO 8601, as in 2026-11-23."""
    reason: str = ""

    def and_(self, other: Provenance) -> Provenance:
        """Of a row that both gave: the people and reasons of both, and the later day."""
        people = dict.fromkeys(name for one in (self, other) for name in one.person.split(", ") if name)
        reasons = dict.fromkeys(reason for one in (self, other) for reason in one.reason.split("; ") if reason)
        return Provenance(", ".join(people), max(self.day, other.day), "; ".join(reasons))


@dataclass(frozen=True, slots=True)
class PictureRow:
    """One picture of a source. A text that the source lacks is empty."""

    file: str
    row: int
    data: bytes = field(repr=False)
    caption: str
    entity: str
    category: str = ""
    language: str = ""
    licence: str = ""
    consent: str = ""
    split: str | None = None
    explanations: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    """Of the entity, for filters."""
    date: str = ""
    """Of the entity, for filters: ISO 8601, as in 2026-11-23."""
    key: str = ""
    """Tells the entity from others of the same name; empty where the name does that."""
    source: str = ""
    """Where the row comes from, if not from the source that gives it."""
    split_group: str = ""
    """Rows with the same text are of one burst, scene or session: they share a split. Empty for none."""
    entity_id: str = ""
    """Of an entity whose id does not follow from key or name, such as one that was renamed in service."""
    provenance: Provenance = Provenance()

    def entity_row(self) -> EntityRow:
        """The fields of the row that are about its entity."""
        return EntityRow(
            entity=self.entity,
            row=self.row,
            category=self.category,
            language=self.language,
            licence=self.licence,
            consent=self.consent,
            explanations=self.explanations,
            tags=self.tags,
            date=self.date,
            key=self.key,
            source=self.source,
            entity_id=self.entity_id,
            provenance=self.provenance,
        )


@dataclass(frozen=True, slots=True)
class EntityRow:
    """One entity of a source, with or without pictures. A text that the source lacks is empty."""

    entity: str
    row: int
    aliases: tuple[str, ...] = ()
    category: str = ""
    language: str = ""
    licence: str = ""
    consent: str = ""
    explanations: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    """For filters."""
    date: str = ""
    """For filters: ISO 8601, as in 2026-11-23."""
    key: str = ""
    """Tells the entity from others of the same name; empty where the name does that."""
    source: str = ""
    """Where the row comes from, if not from the source that gives it."""
    entity_id: str = ""
    """Of an entity whose id does not follow from key or name, such as one that was renamed in service."""
    provenance: Provenance = Provenance()
    names_only: bool = False
    """It only adds aliases: without another row about the entity there is none."""

    @property
    def identity(self) -> str:
        """The text that the entity id is derived from."""
        return self.key or self.entity

    @property
    def id(self) -> str:
        """Id of the entity."""
        return self.entity_id or entity_id(self.identity)


class Source(Protocol):
    """A source of pictures. Both iterators can be repeated and return the same rows in the same order."""

    @property
    def name(self) -> str:
        """Short name, for the ``source`` column of every row."""
        ...

    @property
    def language(self) -> str:
        """Default language of rows, ISO 639-1."""
        ...

    def fingerprint(self) -> str:
        """Hex hash that changes with anything that the source reads; cheap enough for every run."""
        ...

    def __len__(self) -> int:
        """Number of rows of ``pictures``, usable or not; files that no row names do not count."""
        ...

    def entities(self) -> Iterator[EntityRow | Rejection]:
        """Entities that the source describes separately from its pictures; may be empty."""
        ...

    def pictures(self) -> Iterator[PictureRow | Rejection]:
        """Every picture, read but not decoded; the files that no row names come last."""
        ...


def read_picture(folder: Path, name: str) -> bytes:
    """Read the file that a row calls ``name``; it must be inside ``folder``, a resolved path.

    Slashes and backslashes separate folders. Only regular files inside the folder are read: a FIFO would block the run,
    and a device might never end.

    Raises:
        ImageError: The name is invalid or leads out of the folder, or the file is missing or too large.
    """
    path = _inside(folder, name)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from None
    with os.fdopen(handle, "rb") as stream:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            raise ImageError("not a regular file")
        if info.st_size > MAX_BYTES:
            raise ImageError(f"{info.st_size:,} bytes, at most {MAX_BYTES:,} are read")
        return stream.read()


def stamp(folder: Path, name: str) -> str:
    """One line of a fingerprint: name, size in bytes and modification time in ns of a file."""
    try:
        info = folder.joinpath(*PureWindowsPath(name).parts).stat()
    except (OSError, ValueError):
        return f"{name!r} missing\n"
    return f"{name!r} {info.st_size} {info.st_mtime_ns}\n"


def _inside(folder: Path, name: str) -> Path:
    """The real path of ``name`` below ``folder``, symbolic links followed."""
    parts = PureWindowsPath(name)  # splits at / and at \, on every system
    if not parts.name:
        raise ImageError("the row names no file")
    if "\0" in name:
        raise ImageError("the file name holds a NUL character")
    if parts.anchor:
        raise ImageError("absolute path; expected a path relative to the image folder")
    if ".." in parts.parts:
        raise ImageError("the path leaves the image folder by '..'")
    path = folder.joinpath(*parts.parts)
    try:
        real = path.resolve(strict=True)
    except FileNotFoundError:
        link = path.is_symlink()
        raise ImageError("symbolic link that leads nowhere" if link else "no such file in the image folder") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: links that run in a circle
        raise ImageError(
            f"cannot be read: {getattr(error, 'strerror', None) or 'symbolic links in a circle'}"
        ) from None
    if not real.is_relative_to(folder):
        raise ImageError("symbolic link that leads out of the image folder")
    if real.is_dir():
        raise ImageError("a folder, not a file")
    return real
