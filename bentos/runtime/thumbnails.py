"""Small copies of some photographs in a package, for the pages. The model needs none of them."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from entityclip.data import pairs
from entityclip.data.thumbnails import thumbnail
from entityclip.errors import DataError
from entityclip.paths import DataLayout
from entityclip.storage import atomic_path

_SCHEMA = """
CREATE TABLE thumbnail (pair_id TEXT PRIMARY KEY, entity_id TEXT NOT NULL, jpeg BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX thumbnail_entity ON thumbnail (entity_id);
"""


class Thumbnails:
    """Small photographs of a release; threads may share it.

    Args:
        connection: Database with the table; None for a package without thumbnails.
    """

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self._connection, self._lock = connection, threading.Lock()

    @classmethod
    def open(cls, path: Path) -> Thumbnails:
        """The thumbnails of a package; none where the file does not exist.

        Raises:
            DataError: The file is damaged.
        """
        if not path.exists():
            return cls(None)
        try:
            connection = sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True, check_same_thread=False)
            connection.execute("SELECT 1 FROM thumbnail LIMIT 1").fetchone()
        except sqlite3.Error as error:
            raise DataError(f"{path}: not the thumbnails of a package ({error}); package the release again") from error
        return cls(connection)

    def of(self, entity_id: str) -> list[str]:
        """pair_id of each stored photograph of an entity, in a fixed order."""
        found = self._all("SELECT pair_id FROM thumbnail WHERE entity_id = ? ORDER BY pair_id", entity_id)
        return [pair_id for (pair_id,) in found]

    def jpeg(self, pair_id: str) -> bytes | None:
        """A stored photograph; None where there is none with this id."""
        found = self._all("SELECT jpeg FROM thumbnail WHERE pair_id = ?", pair_id)
        return found[0][0] if found else None

    def _all(self, query: str, value: str) -> list[tuple]:
        if self._connection is None:
            return []
        with self._lock:
            return self._connection.execute(query, (value,)).fetchall()


def write_thumbnails(path: Path, data: DataLayout, *, per_entity: int) -> None:
    """Store ``per_entity`` photographs of each entity of ``data`` at ``path``.

    Pair ids are hashes, so that the first ones are as good as a random draw, and the same every time.

    Raises:
        DataError: ``data`` cannot be read.
        ImageError: A picture cannot be decoded.
    """
    rows = pairs.read_frame(data.pairs, columns=["pair_id", "entity_id"]).sort_values("pair_id")
    chosen = set(rows.groupby("entity_id").head(per_entity)["pair_id"])
    with atomic_path(path) as temporary, closing(sqlite3.connect(temporary)) as connection:
        connection.executescript(_SCHEMA)
        with connection:
            for row in pairs.iter_rows(data.pairs, columns=["pair_id", "entity_id", "image"]):
                if row["pair_id"] in chosen:
                    values = (row["pair_id"], row["entity_id"], thumbnail(row["image"]["bytes"]))
                    connection.execute("INSERT INTO thumbnail VALUES (?, ?, ?)", values)
