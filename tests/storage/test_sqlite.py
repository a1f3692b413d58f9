from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier, Timer

import pytest

from entityclip.storage.sqlite import open_shared


def prepare(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS t (x INTEGER)")


def test_all_who_come_to_a_new_file_at_the_same_moment_get_in(tmp_path: Path) -> None:
    many = 8
    for attempt in range(20):
        together = Barrier(many)

        def come(number: int, path: Path = tmp_path / f"{attempt}.sqlite", together: Barrier = together) -> None:
            together.wait()
            with closing(open_shared(path, wait_seconds=60, prepare=prepare)) as database, database:
                database.execute("INSERT INTO t VALUES (?)", (number,))

        with ThreadPoolExecutor(many) as pool:
            list(pool.map(come, range(many)))
        with closing(sqlite3.connect(tmp_path / f"{attempt}.sqlite")) as database:
            assert database.execute("SELECT count(*) FROM t").fetchone() == (many,)
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_who_comes_while_another_process_writes_the_new_file_waits(tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite"
    with closing(sqlite3.connect(path, check_same_thread=False, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        prepare(holder)
        Timer(0.3, holder.execute, ["COMMIT"]).start()
        with closing(open_shared(path, wait_seconds=60, prepare=prepare)) as database:
            assert database.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_lock_that_stays_is_an_error_in_time(tmp_path: Path) -> None:
    path = tmp_path / "held.sqlite"
    with closing(sqlite3.connect(path)) as holder:
        prepare(holder)
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            open_shared(path, wait_seconds=0.1, prepare=prepare)


def test_a_file_that_is_no_database_is_an_error_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rubbish.sqlite"
    path.write_bytes(b"not a database, surely not one" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        open_shared(path, wait_seconds=60, prepare=prepare)
