"""The one error for a disk that is full."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from entityclip.errors import WorkspaceError


@contextmanager
def disk_full_error(reason: str) -> Iterator[None]:
    """Raise WorkspaceError with this reason where the block finds the disk or a quota full."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WorkspaceError(reason) from error
        raise
