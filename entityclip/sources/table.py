"""A user's own pictures: a table that names picture files, an image folder and, if there is one, a product master."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError

from entityclip.errors import ConfigError, ImageError, SourceError, faults
from entityclip.images import SUFFIXES as PICTURE_SUFFIXES
from entityclip.records import Record, Rejection
from entityclip.sources.dates import FORMS, calendar_day
from entityclip.sources.rows import SUFFIXES, Row, Table, open_table
from entityclip.sources.source import EntityRow, PictureRow, read_picture, stamp

STRAY_LIMIT = 1000
"""So many files that no row names are listed one by one; the rest are one line with their number."""

_SAME_NAMED = {
    "file": ("file", "file_name"),
    "caption": ("caption", "text"),
    "aliases": ("aliases", "alias"),
    "explanations": ("explanations", "explanation"),
    "date": (),
}
"""Columns that play a role where the mapping does not name one; any other role's column has the role's own name.
A column called ``date`` may mean anything, and an unreadable date rejects its row: a mapping has to name it."""
_NO_ROLES = {"table", "images", "entities", "encoding", "default_language", "shared_pictures"}
"""Settings of a mapping that name no column."""


_BETWEEN_TAGS = re.compile("[,;、，；]")


class EntityMapping(Record):
    """Where the entity table (product master) is, and which of its columns plays which role.

    A role left at None is played by the column of the same name, where the table has one. Rows that repeat
    an entity add their aliases and explanations to it. The table of pictures itself may be named as ``table``.
    """

    table: Path | None = Field(
        default=None,
        description="Relative to the picture table; None looks for entities.* or products.* beside it.",
    )
    entity: str | None = None
    aliases: tuple[str, ...] | None = Field(default=None, description="Columns with other names and codes.")
    explanations: tuple[str, ...] | None = Field(default=None, description="Columns with texts about the entity.")
    category: str | None = None
    tags: tuple[str, ...] | None = Field(default=None, description="Columns with tags; , ; and 、 separate several.")
    date: str | None = Field(default=None, description=f"Column with the day to filter by: {FORMS}.")
    language: str | None = None
    licence: str | None = None
    consent: str | None = None
    encoding: str = "utf-8"


class TableMapping(Record):
    """Which column of the picture table plays which role; in a YAML file, the same names.

    A role left at None is played by the column of the same name, where the table has one. Only ``file`` and
    one of ``entity`` and ``caption`` are needed: where one of these two columns is missing, the other stands in.
    """

    file: str | None = Field(default=None, description="Path of the picture, relative to the image folder.")
    caption: str | None = None
    entity: str | None = Field(default=None, description="The name or code that the entity table also uses.")
    explanations: tuple[str, ...] | None = Field(default=None, description="Columns with texts about the entity.")
    category: str | None = None
    tags: tuple[str, ...] | None = Field(default=None, description="Columns with tags of the entity; as below.")
    date: str | None = Field(default=None, description="Column with the entity's day to filter by; as below.")
    language: str | None = None
    licence: str | None = None
    consent: str | None = None
    split: str | None = Field(default=None, description="Column with train, val or test; empty cells are drawn.")
    encoding: str = "utf-8"
    default_language: str = Field(default="en", description="Language of rows that do not name theirs, ISO 639-1.")
    images: Path | None = Field(default=None, description="Image folder relative to the table; None is the table's.")
    shared_pictures: Literal["refuse", "merge"] = Field(
        default="refuse",
        description="Entities that share a picture: the gate sets their rows aside, or they become one entity that "
        "keeps all their names.",
    )
    entities: EntityMapping = EntityMapping()

    @classmethod
    def read(cls, path: Path) -> TableMapping:
        """A mapping from a YAML file.

        Raises:
            ConfigError: The file is missing, not YAML, or names something that a mapping does not have.
        """
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        except ValidationError as error:
            raise ConfigError(f"{path}: not a usable table mapping: {faults(error)}") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: not a usable table mapping: {error}") from None


class TableSource:
    """Reads ``path``: a table, or a folder with ``pictures.*`` or ``metadata.*`` in it.

    Raises:
        SourceError: A table is missing or unreadable, or lacks a column that the mapping names.
    """

    def __init__(self, path: Path, *, mapping: TableMapping | None = None, name: str = "table") -> None:
        mapping = mapping or TableMapping()
        self.name, self.language, self._mapping = name, mapping.default_language, mapping
        table = _find(path, "pictures", "metadata") if path.is_dir() else path
        if table is None:
            raise SourceError(f"{path}: expected a table pictures.* or metadata.* ({', '.join(SUFFIXES)}) in it")
        self._table = open_table(table, encoding=mapping.encoding)
        self._roles = _roles(self._table, mapping)
        if not self._roles["file"]:
            self._table.require_column("file")
        if not self._roles["entity"] and not self._roles["caption"]:
            self._table.require_column("entity")
        self._images = (table.parent / (mapping.images or "")).resolve()
        if not self._images.is_dir():
            raise SourceError(f"{self._images}: the image folder is not there")
        self._entity_table = self._open_entities(table.parent)

    def _open_entities(self, folder: Path) -> Table | None:
        mapping = self._mapping.entities
        path = folder / mapping.table if mapping.table else _find(folder, "entities", "products")
        if path is None:
            return None
        table = open_table(path, encoding=mapping.encoding)
        self._entity_roles = _roles(table, mapping)
        if not self._entity_roles["entity"]:
            table.require_column("entity")
        return table

    def __len__(self) -> int:
        return len(self._table)

    def columns(self) -> Iterator[tuple[str, str, str]]:
        """Table, column and the role that it plays, for every column; the role is empty where nothing reads it."""
        tables = [(self._table, self._roles)]
        if self._entity_table is not None:
            tables.append((self._entity_table, self._entity_roles))
        for table, roles in tables:
            for column in table.columns:
                played = [role for role, columns in roles.items() if column in columns]
                yield table.path.name, column, ", ".join(played)

    def fingerprint(self) -> str:
        """Hash of mapping, tables, and path, size and time of every picture that a row names."""
        h = hashlib.sha256(f"{self.name}\n{self._mapping.model_dump_json()}\n".encode())
        for table in (self._table, self._entity_table):
            if table is not None:
                with table.path.open("rb") as stream:
                    h.update(hashlib.file_digest(stream, "sha256").digest())
        for row in self._table.rows():
            if not isinstance(row, Rejection):
                h.update(stamp(self._images, _first(row[1], self._roles["file"])).encode())
        return h.hexdigest()

    def entities(self) -> Iterator[EntityRow | Rejection]:
        """Rows of the entity table, in its order."""
        if self._entity_table is None:
            return
        roles, file = self._entity_roles, self._entity_table.path.name
        for row in self._entity_table.rows():
            if isinstance(row, Rejection):
                yield row
            else:
                yield _entity(row, roles, file=file)

    def pictures(self) -> Iterator[PictureRow | Rejection]:
        """Rows of the picture table, in its order, then the picture files that none of them names."""
        named: set[str] = set()
        for row in self._table.rows():
            if isinstance(row, Rejection):
                yield row
                continue
            file = _first(row[1], self._roles["file"])
            named.add(os.path.normpath(file.replace("\\", "/")))
            yield self._picture(file, row)
        yield from self._strays(named)

    def _picture(self, file: str, row: tuple[int, Row]) -> PictureRow | Rejection:
        number, cells = row
        caption, entity = _first(cells, self._roles["caption"]), _first(cells, self._roles["entity"])
        if not entity and not caption:
            return Rejection(file=file, row=number, reason="neither entity nor caption")
        try:
            data, date = read_picture(self._images, file), _date(cells, self._roles)
        except (ImageError, ValueError) as error:
            return Rejection(file=file, row=number, reason=getattr(error, "reason", str(error)))
        return PictureRow(
            file=file,
            row=number,
            data=data,
            caption=caption if self._roles["caption"] else entity,
            entity=entity or caption,
            category=_first(cells, self._roles["category"]),
            language=_first(cells, self._roles["language"]),
            licence=_first(cells, self._roles["licence"]),
            consent=_first(cells, self._roles["consent"]),
            split=_first(cells, self._roles["split"]) or None,
            explanations=_all(cells, self._roles["explanations"]),
            tags=_tags(cells, self._roles),
            date=date,
        )

    def _strays(self, named: set[str]) -> Iterator[Rejection]:
        strays = (file for file in _picture_files(self._images) if file not in named)
        for file in islice(strays, STRAY_LIMIT):
            yield Rejection(file=file, row=None, reason="no row of the table names this file")
        more = sum(1 for _ in strays)
        if more:
            yield Rejection(file="...", row=None, reason=f"and {more:,} more files that no row names")


def _entity(row: tuple[int, Row], roles: dict[str, tuple[str, ...]], *, file: str) -> EntityRow | Rejection:
    number, cells = row
    if not _first(cells, roles["entity"]):
        return Rejection(file=file, row=number, reason=f"no entity in column {roles['entity'][0]!r}")
    try:
        date = _date(cells, roles)
    except ValueError as error:
        return Rejection(file=file, row=number, reason=str(error))
    return EntityRow(
        entity=_first(cells, roles["entity"]),
        row=number,
        aliases=_all(cells, roles["aliases"]),
        category=_first(cells, roles["category"]),
        language=_first(cells, roles["language"]),
        licence=_first(cells, roles["licence"]),
        consent=_first(cells, roles["consent"]),
        explanations=_all(cells, roles["explanations"]),
        tags=_tags(cells, roles),
        date=date,
    )


def _tags(cells: Row, roles: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    cut = (tag.strip() for cell in _all(cells, roles["tags"]) for tag in _BETWEEN_TAGS.split(cell))
    return tuple(filter(None, cut))


def _date(cells: Row, roles: dict[str, tuple[str, ...]]) -> str:
    """ISO 8601; empty where the row has none. Raises ValueError for a day that cannot be read."""
    text = _first(cells, roles["date"])
    return calendar_day(text).isoformat() if text else ""


def _roles(table: Table, mapping: TableMapping | EntityMapping) -> dict[str, tuple[str, ...]]:
    """Role -> the columns that play it; none where the mapping is silent and the table has no such column."""
    roles: dict[str, tuple[str, ...]] = {}
    for role in type(mapping).model_fields:
        if role in _NO_ROLES:
            continue
        named: str | tuple[str, ...] | None = getattr(mapping, role)
        if named is None:
            found = [column for column in _SAME_NAMED.get(role, (role,)) if column in table.columns]
            roles[role] = tuple(found[:1])
        else:
            columns = (named,) if isinstance(named, str) else named
            roles[role] = tuple(map(table.require_column, columns))
    return roles


def _all(cells: Row, columns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text for column in columns for text in cells.get(column, ()))


def _first(cells: Row, columns: tuple[str, ...]) -> str:
    return next(iter(_all(cells, columns)), "")


def _find(folder: Path, *stems: str) -> Path | None:
    """The one table in ``folder`` with one of these names."""
    found = [folder / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
    found = [path for path in found if path.is_file()]
    if len(found) > 1:
        raise SourceError(f"{folder}: which table is meant? {', '.join(path.name for path in found)}; name one")
    return found[0] if found else None


def _picture_files(folder: Path) -> Iterator[str]:
    """Files below ``folder`` whose name says picture, in order; hidden folders and links are passed by."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in PICTURE_SUFFIXES:
                path = Path(root, name).relative_to(folder).as_posix()
                yield os.fsencode(path).decode(errors="backslashreplace")  # a name on disk may be no UTF-8
