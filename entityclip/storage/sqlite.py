"""SQLite files that several processes write concurrently."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd

from entityclip.errors import DataError
from entityclip.storage import close_to_others, private_file, private_folder

LOOK_SECONDS = 0.02


def open_shared(
    path: Path, *, wait_seconds: float, prepare: Callable[[sqlite3.Connection], object], **options: Any
) -> sqlite3.Connection:
    """A connection to a database whose readers and writers do not stop each other (write-ahead log).

    The file and its log are readable by their owner alone, whatever the umask; an older file is closed to others.

    SQLite waits for locks itself, except while a new file gets its write-ahead log: a second process fails at once.
    This function retries until the timeout.

    Args:
        path: The file, made where there is none; its folder has to be there.
        wait_seconds: For a lock that another process holds.
        prepare: Makes the tables; the connection is closed again where that fails.
        options: As of ``sqlite3.connect``.

    Raises:
        sqlite3.DatabaseError: The file is no database, cannot be written, or stays locked.
    """
    _close_to_others(path)
    connection = sqlite3.connect(path, timeout=wait_seconds, **options)
    try:
        _log_ahead(connection, until=time.monotonic() + wait_seconds)
        prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(path: Path, schema: str, *, name: str) -> Iterator[sqlite3.Connection]:
    """A connection to a shared database in a folder that is its owner's alone; the block is one transaction.

    Args:
        path: The file, made where there is none, with its folder.
        schema: Makes the tables.
        name: What the file is, for messages.

    Raises:
        DataError: The file cannot be used.
    """
    try:
        private_folder(path.parent)
        opened = open_shared(path, wait_seconds=10, prepare=lambda database: database.executescript(schema))
        with closing(opened) as connection, connection:
            yield connection
    except (sqlite3.Error, pd.errors.DatabaseError, OSError) as error:
        raise DataError(f"{path}: the {name} cannot be used: {error}; move it away") from error


def _close_to_others(path: Path) -> None:
    """SQLite gives its log the rights that the database has when the log is made."""
    with suppress(OSError):  # of a place that cannot be written, SQLite itself says so
        private_file(path)
    for suffix in ("-wal", "-shm", "-journal"):
        close_to_others(path.with_name(path.name + suffix))


def _log_ahead(connection: sqlite3.Connection, *, until: float) -> None:
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(LOOK_SECONDS)
