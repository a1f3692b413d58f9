"""Everything that was changed in service, with who did it and when; the pictures are read one entity at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

from entityclip.errors import DataError
from entityclip.paths import ChangesLayout
from entityclip.retrieval.index.changes import TEXTS, WAIT_SECONDS, prepare
from entityclip.schemas import EntityEntry
from entityclip.storage.sqlite import open_shared


@dataclass(frozen=True)
class AddedPicture:
    """A picture that was added to an entity."""

    data: bytes = field(repr=False)
    key: str
    """Id of the API key that added it; '' where it is not known."""
    at: str
    """Time in ISO 8601, likewise."""


@dataclass(frozen=True)
class ChangedEntity:
    """The last state of one entity that was added, changed or removed in service."""

    entity_id: str
    entry: EntityEntry | None
    """None where it was removed."""
    keeps_released: bool
    """Whether the pictures count that the release has of it."""
    key: str
    """Id of the API key that changed it last; '' where it is not known."""
    at: str
    """Time in ISO 8601, likewise."""
    pictures: tuple[AddedPicture, ...]


_ENTITIES = """SELECT entity.entity_id, entry, keeps_released, coalesce(key, ''), coalesce(at, '') FROM entity
    LEFT JOIN origin ON origin.entity_id = entity.entity_id AND origin.pair_id = ? ORDER BY number"""
_PICTURES = """SELECT bytes, coalesce(key, ''), coalesce(at, '') FROM picture LEFT JOIN origin
    ON origin.entity_id = picture.entity_id AND origin.pair_id = picture.pair_id
    WHERE picture.entity_id = ? ORDER BY picture.rowid"""


def changed_entities(layout: ChangesLayout) -> Iterator[ChangedEntity]:
    """Every entity that was changed in service, as of one moment.

    Raises:
        DataError: The file is damaged, or stays locked.
    """
    try:
        opened = open_shared(layout.database, wait_seconds=WAIT_SECONDS, prepare=prepare, isolation_level=None)
        with closing(opened) as connection:
            connection.execute("BEGIN")
            for entity_id, entry, keeps, key, at in connection.execute(_ENTITIES, (TEXTS,)).fetchall():
                pictures = tuple(AddedPicture(*row) for row in connection.execute(_PICTURES, (entity_id,)))
                read = None if entry is None else EntityEntry.model_validate_json(entry)
                yield ChangedEntity(entity_id, read, bool(keeps), key, at, pictures)
    except (sqlite3.Error, ValueError) as error:
        raise DataError(f"{layout.database}: {error}; bring a backup back") from error
