"""Files and folders that appear whole or not at all, whoever writes, dies or runs out of room meanwhile."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from entityclip.schemas import Release
from entityclip.storage import atomic_path, atomic_write, target_name, temporary_name

RELEASE = Release(version="v1.0.0", commit="abc", model_fingerprint="m", data_hash="d")

HALF = """
import sys, time
from pathlib import Path
from entityclip.storage import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    file = temporary.open("wb")
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    time.sleep(600)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def half_written(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has written half of a file and waits."""
    with subprocess.Popen([sys.executable, "-c", HALF, str(path)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"half\n"
            yield process
        finally:
            process.kill()


def test_killed_writer_leaves_the_old_file_and_the_next_one_removes_what_it_left(tmp_path: Path) -> None:
    path = tmp_path / "release.json"
    RELEASE.write(path)
    with half_written(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert Release.read(path) == RELEASE
    (left,) = [name for name in names(tmp_path) if name != path.name]
    assert left.endswith(".partial")  # what .gitignore names
    assert target_name(left) == "release.json"
    RELEASE.write(path)
    assert names(tmp_path) == ["release.json"]


def test_writer_at_work_is_not_taken_for_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "release.json"
    with half_written(path):
        RELEASE.write(path)
        assert len(names(tmp_path)) == 2
        assert Release.read(path) == RELEASE


def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "big"
    atomic_write(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            atomic_write(path, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["big"]


def test_place_that_cannot_be_written_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file, not a folder")
    with pytest.raises(OSError, match="file"):
        atomic_write(tmp_path / "file" / "inside", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        atomic_write(tmp_path / "folder", "x")
    assert names(tmp_path) == ["file", "folder"]


def test_every_byte_and_every_name_is_on_the_disk_before_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[int, int]] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        about = os.fstat(descriptor)
        flushed.append((about.st_ino, about.st_size))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    path = tmp_path / "new" / "folder"
    with atomic_path(path) as temporary:
        (temporary / "inner").mkdir(parents=True)
        (temporary / "inner" / "file").write_bytes(b"12345")
    file = (path / "inner" / "file").stat()
    assert (file.st_ino, 5) in flushed
    order = [inode for inode, _ in flushed]
    folders = [path / "inner", path, path.parent, tmp_path]
    assert {folder.stat().st_ino for folder in folders} <= set(order)
    assert order.index(file.st_ino) < len(order) - 1 - order[::-1].index(path.parent.stat().st_ino)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_mode_holds_from_the_first_byte_and_else_the_umask_decides(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        atomic_write(tmp_path / "plain", "x")
        atomic_write(tmp_path / "secret", "x", mode=0o600)
        with atomic_path(tmp_path / "while") as temporary:
            temporary.write_text("x")
            assert stat.S_IMODE(temporary.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "plain").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_folder_replaces_a_folder_and_writers_may_meet(tmp_path: Path) -> None:
    path = tmp_path / "index"

    def write(number: int) -> None:
        for _ in range(20):
            with atomic_path(path) as temporary:
                temporary.mkdir()
                for name in ("a", "b"):
                    (temporary / name).write_text(str(number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert names(path) == ["a", "b"]
    assert (path / "a").read_text() == (path / "b").read_text()
    assert names(tmp_path) == ["index"]


def test_block_that_raises_changes_nothing(tmp_path: Path) -> None:
    atomic_write(tmp_path / "file", "old")
    with pytest.raises(UnicodeEncodeError), atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("new\ud800", encoding="utf-8")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "file"):
        pass  # and a block that writes nothing is an error
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_older_file_stays_where_none_is_to_be_replaced(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic_path(tmp_path / "file", replace=False) as temporary:
            temporary.write_text(text)
    assert (tmp_path / "file").read_text() == "first"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["a", ".hidden", "[x]*?", "二" * 80, "a" * 250, "line\nbreak.json", "a.partial"])
def test_names_of_every_kind_are_written_and_recognised(tmp_path: Path, name: str) -> None:
    atomic_write(tmp_path / name, name)
    assert names(tmp_path) == [name]
    assert len(temporary_name(name).encode()) < 255
    if len(name.encode()) < 150:
        assert target_name(temporary_name(name)) == name
    assert target_name(name) == name
