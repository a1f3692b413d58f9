"""A table of picture files with an image folder, and optionally an entity table (product master)."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from entityclip.data.images import SUFFIXES as PICTURE_SUFFIXES
from entityclip.data.sources.base import EntityRow, PictureRow, read_picture, stamp
from entityclip.data.sources.dates import calendar_day
from entityclip.data.sources.mapping import EntityMapping, TableMapping
from entityclip.data.sources.table_files import SUFFIXES, Row, Table, open_table
from entityclip.errors import ImageError, SourceError
from entityclip.schemas import Rejection

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

_TEXTS = ("caption", "entity", "aliases", "explanations")
"""Roles whose cells say in which language a table is written."""
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa\uff66-\uff9d]")
_LOOKED_AT = 1000
"""Rows whose texts say it."""

_BETWEEN_TAGS = re.compile("[,;、，；]")


class TableSource:
    """Reads ``path``: a table, or a folder that contains ``pictures.*`` or ``metadata.*``.

    Raises:
        SourceError: A table is missing or unreadable, or lacks a column that the mapping names.
    """

    def __init__(self, path: Path, *, mapping: TableMapping | None = None, name: str = "table") -> None:
        mapping = mapping or TableMapping()
        self.name, self._mapping = name, mapping
        table = _find(path, "pictures", "metadata") if path.is_dir() else path
        if table is None:
            there = sorted(file.name for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
            remedy = f"; if one of {', '.join(there[:5])} names the pictures, give its own path" if there else ""
            wanted = f"pictures.* or metadata.* ({', '.join(SUFFIXES)})"
            raise SourceError(f"{path}: expected a table {wanted} in it{remedy}")
        self._table = open_table(table, encoding=mapping.encoding, origin=mapping.where("encoding"))
        self._roles = _roles(self._table, mapping, where=mapping.where)
        if not self._roles["file"]:
            _require_role(self._table, "file")
        if not self._roles["entity"] and not self._roles["caption"]:
            _require_role(self._table, "entity")
        self._images = (table.parent / (mapping.images or "")).resolve()
        if not self._images.is_dir():
            raise SourceError(
                f"{mapping.where('images')}{self._images}: the image folder is not there; expected a folder, relative "
                f"to {table.parent}"
            )
        self._entity_table = self._open_entities(table.parent)
        self.language = mapping.default_language or self._detected_language()

    def _open_entities(self, folder: Path) -> Table | None:
        mapping = self._mapping.entities
        path = folder / mapping.table if mapping.table else _find(folder, "entities", "products")
        if path is None:
            return None

        def where(key: str) -> str:
            return self._mapping.where(f"entities.{key}")

        if not path.is_file():
            raise SourceError(f"{where('table')}{path}: no such table; expected a path relative to {folder}")
        table = open_table(path, encoding=mapping.encoding, origin=where("encoding"))
        self._entity_roles = _roles(table, mapping, where=where)
        if not self._entity_roles["entity"]:
            _require_role(table, "entity")
        return table

    def _detected_language(self) -> str:
        """That of most rows at the beginning of the tables."""
        tables = [(self._table, self._roles)]
        if self._entity_table is not None:
            tables.append((self._entity_table, self._entity_roles))
        texts = [
            " ".join(_all(row[1], tuple(column for role in _TEXTS for column in roles.get(role, ()))))
            for table, roles in tables
            for row in islice(table.rows(), _LOOKED_AT)
            if not isinstance(row, Rejection)
        ]
        japanese = [bool(_KANA.search(text)) for text in texts if text]
        return "ja" if sum(japanese) > len(japanese) / 2 else "en"

    def __len__(self) -> int:
        return len(self._table)

    def columns(self) -> Iterator[tuple[str, str, str]]:
        """Table, column and role of every column; the role is empty if the column is not used."""
        tables = [(self._table, self._roles)]
        if self._entity_table is not None:
            tables.append((self._entity_table, self._entity_roles))
        for table, roles in tables:
            for column in table.columns:
                played = [role for role, columns in roles.items() if column in columns]
                yield table.path.name, column, ", ".join(played)

    def encodings(self) -> dict[str, str]:
        """Table -> its text encoding; empty for Parquet."""
        tables = (self._table, self._entity_table)
        return {table.path.name: table.encoding for table in tables if table is not None}

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
        """Rows of the picture table, in its order, then the picture files that no row names."""
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
            split_group=_first(cells, self._roles["split_group"]),
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
    """Day in ISO 8601; empty if the row has none. Raises ValueError if it cannot be parsed."""
    text = _first(cells, roles["date"])
    return calendar_day(text).isoformat() if text else ""


def _roles(
    table: Table, mapping: TableMapping | EntityMapping, *, where: Callable[[str], str]
) -> dict[str, tuple[str, ...]]:
    """Role -> its columns; empty if neither the mapping nor the table has one."""
    roles: dict[str, tuple[str, ...]] = {}
    for role in type(mapping).model_fields:
        if role in _NO_ROLES:
            continue
        named: str | tuple[str, ...] | None = getattr(mapping, role)
        if named is None:
            found = [column for column in _SAME_NAMED.get(role, (role,)) if column in table.columns]
            roles[role] = tuple(found[:1])
            continue
        try:
            roles[role] = tuple(map(table.require_column, (named,) if isinstance(named, str) else named))
        except SourceError as error:
            raise SourceError(f"{where(role)}{error}") from None
    return roles


def _require_role(table: Table, role: str) -> None:
    try:
        table.require_column(role)
    except SourceError as error:
        raise SourceError(f"{error}; a mapping says which of them is the {role}: docs/custom-data.md") from None


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
    """Sorted files below ``folder`` with a picture suffix; hidden folders and links are skipped."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in PICTURE_SUFFIXES:
                path = Path(root, name).relative_to(folder).as_posix()
                yield os.fsencode(path).decode(errors="backslashreplace")  # a name on disk may be no UTF-8
