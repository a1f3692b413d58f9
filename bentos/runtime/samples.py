"""Samples of the queries of a service, for drift monitoring.

Stores no picture and no text: of a picture its embedding and four statistics, of a text its script. One thread takes
the samples after the response, at most one of each kind per second, so that the cost does not grow with the load.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from entityclip.errors import DataError, EntityClipError
from entityclip.monitoring.statistics import STATISTICS, picture_statistics, script_of
from entityclip.storage.sqlite import transaction

if TYPE_CHECKING:
    from bentos.runtime.loaded_release import LoadedRelease

SECONDS = 1.0
"""Interval between two samples of a kind, per worker."""
MOST_ROWS = 50_000
"""Most samples, about 1 kB each; the oldest are deleted first."""

_SCHEMA = f"""CREATE TABLE IF NOT EXISTS samples (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, release TEXT NOT NULL,
    vector BLOB, {", ".join(f"{name} REAL" for name in STATISTICS)}, script TEXT
)"""

log = logging.getLogger("entityclip.samples")


class Samples:
    """The samples file at ``path``, shared by all workers of a machine. None stores nothing."""

    def __init__(self, path: Path | None, *, seconds: float = SECONDS) -> None:
        self.path, self.seconds = path, seconds
        self._taken = {"picture": -seconds, "text": -seconds}
        self._waiting: queue.Queue[Callable[[], dict[str, Any]]] = queue.Queue(4)
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------ in the service
    def offer(self, release: LoadedRelease, *, pictures: Sequence[bytes] = (), text: str | None = None) -> None:
        """Take a sample of a query if one is due; returns immediately.

        Args:
            release: The release that served the query.
            pictures: Picture files of the query, which decoded without an error; the first one is sampled.
            text: Text of the query.
        """
        if pictures and self._due("picture"):
            self._put(lambda: {"release": release.version, **_picture(release, pictures[0])})
        if text is not None and self._due("text"):
            self._put(lambda: {"release": release.version, "script": script_of(text)})

    def _due(self, kind: str) -> bool:
        now = time.monotonic()
        if self.path is None or now - self._taken[kind] < self.seconds:
            return False
        self._taken[kind] = now
        return True

    def _put(self, sample: Callable[[], dict[str, Any]]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="samples", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(sample)
        except queue.Full:
            log.debug("a sample was dropped: the queue is full")

    def _work(self) -> None:
        while True:
            sample = self._waiting.get()
            try:
                self.write(sample())
            except (EntityClipError, RuntimeError) as error:  # a failed sample must not affect responses
                log.error("a sample was not stored: %s", error)

    # ------------------------------------------------------------ the file
    def write(self, sample: dict[str, Any]) -> None:
        """Store one sample: ``release`` and either ``vector`` with ``STATISTICS``, or ``script``.

        Raises:
            DataError: The file cannot be written.
        """
        values = {"at": datetime.now(UTC).isoformat(), **sample}
        names, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
        with self._open() as connection:
            number = connection.execute(f"INSERT INTO samples ({names}) VALUES ({marks})", values).lastrowid or 0
            connection.execute("DELETE FROM samples WHERE number <= ?", (number - MOST_ROWS,))

    def read(self, release: str, *, since: datetime) -> pd.DataFrame:
        """Samples of one release, oldest first: ``at``, ``vector`` (float16 bytes), ``STATISTICS``, ``script``.

        Raises:
            DataError: The file cannot be read.
        """
        with self._open() as connection:
            return pd.read_sql_query(
                f"SELECT at, vector, {', '.join(STATISTICS)}, script FROM samples "
                "WHERE release = ? AND at >= ? ORDER BY number",
                connection,
                params=(release, since.isoformat()),
            )

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection; the block is one transaction."""
        if self.path is None:
            raise DataError("no samples file; start the service with ENTITYCLIP_STATE")
        return transaction(self.path, _SCHEMA, name="samples file")


def _picture(release: LoadedRelease, picture: bytes) -> dict[str, Any]:
    square = release.decode(picture)
    pixels = np.asarray(square).transpose(2, 0, 1)
    vector = release.predictor.embed_images([square])[0]
    return {"vector": vector.astype(np.float16).tobytes(), **picture_statistics(pixels)}
