"""What every source gives: rows about entities, rows about pictures, and a reason for each row it could not use."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Protocol

from entityclip.data.images import MAX_BYTES
from entityclip.errors import ImageError
from entityclip.schemas import Rejection


@dataclass(frozen=True, slots=True)
class PictureRow:
    """One picture as its source has it. Empty texts mean that the source does not say."""

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

    def entity_row(self) -> EntityRow:
        """What the row says about its entity."""
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
        )


@dataclass(frozen=True, slots=True)
class EntityRow:
    """One entity as its source describes it, photographed or not. Empty texts mean that the source does not say."""

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

    @property
    def identity(self) -> str:
        """What the entity's id is made from."""
        return self.key or self.entity


class Source(Protocol):
    """Where pictures come from. Both iterators may be walked again and give the same rows in the same order."""

    @property
    def name(self) -> str:
        """Short name; it stands in the ``source`` column of every row."""
        ...

    @property
    def language(self) -> str:
        """Language of the rows that do not name theirs, as an ISO 639-1 code."""
        ...

    def fingerprint(self) -> str:
        """Hex hash that changes when anything changes that the source would read; cheap enough for every run."""
        ...

    def __len__(self) -> int:
        """How many rows ``pictures`` offers, usable or not; stray files are not rows."""
        ...

    def entities(self) -> Iterator[EntityRow | Rejection]:
        """Entities that the source describes apart from its pictures; may be none."""
        ...

    def pictures(self) -> Iterator[PictureRow | Rejection]:
        """Every picture, its bytes read but not decoded; last come the files that no row names."""
        ...


def read_picture(folder: Path, name: str) -> bytes:
    """The bytes of the file that a row calls ``name``, which must lie inside ``folder``, a resolved path.

    Both kinds of slash are understood. Nothing outside the folder is read, whatever the row says, and
    nothing but a regular file: a FIFO would hang the run, a device might never end.

    Raises:
        ImageError: The name is unusable, leads out of the folder, or the file is missing or too large.
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
    """One line of a fingerprint: a file's name, size in bytes and time of its last change in ns."""
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
