"""How much memory the pictures that are being decoded may take, in all threads of a process together."""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

DECODED_BYTES = 768 * 2**20
"""Of all pictures that a process decodes at the same time; the largest picture that is accepted just fits."""


_MMAP_THRESHOLD = -3
"""glibc's M_MMAP_THRESHOLD: blocks from this size on are mapped by themselves and unmapped when freed."""
_PILLOW_BLOCK = 8 * 2**20
"""As many rows as fit into 16 MiB are one block: a picture's blocks are larger than this, but for the last one."""


class ByteBudget:
    """A byte limit that threads share, first come, first served. A request above the limit runs alone."""

    def __init__(self, limit: int) -> None:
        self.limit, self._used = limit, 0
        self._changed, self._waiting = threading.Condition(), deque[object]()

    def shrink(self, limit: int) -> None:
        """Give out at most ``limit`` bytes from now on, and never more than before."""
        with self._changed:
            self.limit = max(1, min(self.limit, limit))

    @contextmanager
    def taken(self, count: int) -> Iterator[None]:
        """Hold ``count`` bytes during the block, after waiting until they are free."""
        self._take(count)
        try:
            yield
        finally:
            with self._changed:
                self._used -= count
                self._changed.notify_all()

    def _take(self, count: int) -> None:
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is turn and self._fits(count))
                self._used += count
            finally:  # of an interrupt as well, or those behind would wait for ever
                self._waiting.remove(turn)
                self._changed.notify_all()

    def _fits(self, count: int) -> bool:
        return self._used == 0 or self._used + count <= self.limit


BUDGET = ByteBudget(DECODED_BYTES)
"""Of this process."""


def return_freed_pictures() -> None:
    """Let the C library give the memory of a picture back to the system when it is freed, in every thread.

    glibc keeps freed blocks of up to 32 MB for the thread that had them, and Pillow allocates up to 16 MiB at a time:
    six threads that had decoded one large picture each kept 2.4 GB. Other C libraries give it back anyway.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _PILLOW_BLOCK)
