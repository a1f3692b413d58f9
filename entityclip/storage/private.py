"""Files and folders that only the account of their owner can read."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path

from entityclip.storage.atomic import atomic_path

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


def private_folder(folder: Path) -> None:
    """Make ``folder`` and its parents; ``folder`` is its owner's alone, also one that was open to others before.

    A folder of another account stays as it is, and so does one like ``/tmp`` that every account writes into.

    Raises:
        OSError: It cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    if not folder.stat().st_mode & stat.S_ISVTX:
        _close(folder)


def private_file(path: Path) -> None:
    """Make an empty file unless there is one; it is its owner's alone, also one that was open to others before.

    The file itself is never opened: closing it would release the locks that SQLite holds on it in this process.

    Raises:
        OSError: It cannot be made.
    """
    if not path.exists():
        with atomic_path(path, mode=PRIVATE_FILE, replace=False) as temporary:
            temporary.touch()
    _close(path)


def close_to_others(path: Path) -> None:
    """Take every right to ``path`` from other accounts, where it is there and this account's."""
    with suppress(FileNotFoundError):
        _close(path)


def _close(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        with suppress(OSError):  # another account's, which decides; or on a file system that is read-only
            path.chmod(mode & ~0o077)
