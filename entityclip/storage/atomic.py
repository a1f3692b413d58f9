"""Files and folders that appear whole or not at all, and are on the disk when the call returns.

What is being written lies in a folder of its own beside the target, ``.NAME.RANDOM.partial``, which its writer keeps
locked. Writers of the same target therefore never share a name, and the next one removes what a killed writer left.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SUFFIX = ".partial"
_TEMPORARY = re.compile(r"\.(?P<target>.+)\.[0-9a-f]{8}\.partial", re.DOTALL)
_LONGEST = 150
"""Bytes of the target's name that a temporary one repeats: names end at 255."""


def atomic_write(path: Path, content: bytes | str, *, mode: int | None = None) -> None:
    """Replace the file at ``path`` by one that holds ``content``; readers see the old file or the new one.

    Args:
        path: The file; missing parent folders are made.
        content: Text is encoded as UTF-8.
        mode: Permissions, like ``0o600``; None: what the process gives to new files.

    Raises:
        OSError: It cannot be written, for instance since the disk is full; the old file is untouched.
    """
    with atomic_path(path, mode=mode) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def atomic_path(path: Path, *, mode: int | None = None, replace: bool = True, durable: bool = True) -> Iterator[Path]:
    """A path under which the block writes a file or makes a folder, which then takes the place of ``path``.

    The temporary path does not exist yet, has the same name as ``path``, and is gone after the block. Where the block
    raises, ``path`` stays as it was.

    Args:
        path: A file, or a folder; an older folder is replaced with all that is in it.
        mode: Permissions of the file, like ``0o600``; None: as the block leaves them.
        replace: Whether an older file is replaced; else it stays and what was written is thrown away.
        durable: Whether it has to survive a power failure. False spares some milliseconds a file, for a folder of
            thousands that its reader checks and can make again.

    Raises:
        OSError: It cannot be written, for instance since the disk is full.
    """
    _make_folder(path.parent)
    with _private_folder(path) as folder:
        temporary = folder / path.name
        yield temporary
        if mode is not None:
            temporary.chmod(mode)
        if durable:
            _flush(temporary)
        if replace:
            _put(temporary, path)
        else:
            with suppress(FileExistsError):
                os.link(temporary, path)
        _flush_folder(path.parent)


def durable_rename(source: Path, target: Path) -> None:
    """Put ``source`` in the place of ``target`` once all of it is on the disk; both lie on one file system."""
    _flush(source)
    _put(source, target)
    _flush_folder(target.parent)


def _put(source: Path, target: Path) -> None:
    """Rename. A folder that is replaced is missing for a moment: only files can be exchanged in one step."""
    replaced: list[Path] = []
    while True:
        try:
            source.replace(target)
            break
        except OSError as error:
            if not source.is_dir() or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        replaced.append(target.with_name(temporary_name(target.name)))
        with suppress(FileNotFoundError):  # another writer may move it away at the same moment
            target.rename(replaced[-1])
    for folder in replaced:
        shutil.rmtree(folder, ignore_errors=True)


def temporary_name(name: str) -> str:
    """A name that no other writer uses, for something that will be called ``name``; Git ignores it."""
    short = name.encode()[:_LONGEST].decode(errors="ignore")
    return f".{short}.{uuid.uuid4().hex[:8]}{_SUFFIX}"


def target_name(name: str) -> str:
    """What ``name`` will be called if it is a temporary name, else ``name`` itself."""
    found = _TEMPORARY.fullmatch(name)
    return found["target"] if found else name


# ---------------------------------------------------------------- temporary folders
@contextmanager
def _private_folder(path: Path) -> Iterator[Path]:
    """A new, locked folder beside ``path``, removed at the end with what is still in it."""
    _remove_abandoned(path)
    folder, lock = _locked_folder(path)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked_folder(path: Path) -> tuple[Path, int]:
    while True:
        folder = path.with_name(temporary_name(path.name))
        folder.mkdir(mode=0o700)
        with suppress(FileNotFoundError):  # another writer may take it for abandoned before it is locked
            lock = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # some network file systems lock no folders; there nothing is removed
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.is_dir():
                return folder, lock
            os.close(lock)


def _remove_abandoned(path: Path) -> None:
    """Remove what killed writers of ``path`` left; a living one holds its lock."""
    prefix = temporary_name(path.name)[: -len(f"00000000{_SUFFIX}")]
    with os.scandir(path.parent) as entries:
        found = [entry.path for entry in entries if entry.name.startswith(prefix) and entry.name.endswith(_SUFFIX)]
    for folder in found:
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


# ---------------------------------------------------------------- onto the disk
def _make_folder(folder: Path) -> None:
    """Make it and its parents, each one on the disk."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush_folder(folder.parent)


def _flush(path: Path) -> None:
    """Bring a file, or a folder with all that is in it, onto the disk."""
    if not path.is_dir():
        _flush_file(path)
        return
    for folder, _, files in os.walk(path):
        for name in files:
            if not (file := Path(folder, name)).is_symlink():
                _flush_file(file)
        _flush_folder(Path(folder))


def _flush_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot, and need not
            raise
    finally:
        os.close(descriptor)
