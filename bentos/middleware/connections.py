"""Connections that end by themselves: no caller holds one for longer than it sends or reads something.

uvicorn closes a connection that waits between two requests, but not one that never sends the first, sends its headers
byte by byte, or does not read its answer. ``use`` makes it take ``Connection`` in every server of this process.
"""

from __future__ import annotations

import asyncio
import itertools
import resource
from typing import Any, ClassVar

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0
"""Until the headers of a request are whole, from the connection or from the first byte of a later request on."""

UNREAD_SECONDS = 60.0
"""For which an answer may wait for a caller that does not read it."""

HEADER_BYTES = 64 * 2**10

MAX_CONNECTIONS = 512
"""In one worker; fewer where the system allows a process few open files."""

_ORDER = itertools.count()  # the loop's clock is too coarse: many come within one of its ticks

_REASON = b'{"error": "the headers of the request are too long"}'
_TOO_LARGE = b"\r\n".join(
    [
        b"HTTP/1.1 431 Request Header Fields Too Large",
        b"connection: close",
        b"content-type: application/json",
        b"content-length: %d" % len(_REASON),
        b"",
        _REASON,
    ]
)


def use() -> None:
    """Make ``Connection`` the protocol of every uvicorn server that is started without another one."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"


def most_connections() -> int:
    """``MAX_CONNECTIONS``, or half of the files that this process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MAX_CONNECTIONS, files // 2) if files != resource.RLIM_INFINITY else MAX_CONNECTIONS


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits on the caller's side.

    One connection too many closes the one that has waited longest for its caller, so that a probe always gets in.
    One whose request is in work is never closed for that.
    """

    header_seconds: ClassVar[float] = HEADER_SECONDS
    unread_seconds: ClassVar[float] = UNREAD_SECONDS
    most: ClassVar[int] = most_connections()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waits: int | None = None
        """Its place in the order in which connections began to wait for their callers; None while one is in work."""
        self._deadline: asyncio.TimerHandle | None = None
        self._in_headers = False
        self._received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, but not for ever."""
        super().connection_made(transport)
        self._wait(self.header_seconds)
        if len(self.connections) > self.most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._work()
        super().connection_lost(exc)

    # ------------------------------------------------------------ the caller has to send
    def data_received(self, data: bytes) -> None:
        """Read on; more bytes of the same headers give no more time."""
        idle = not self._in_work()
        if idle:
            self._wait(self.header_seconds)
        super().data_received(data)
        self._received += len(data)
        if idle and self._in_work():
            self._work()
        elif self._in_headers and self._received > HEADER_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_headers, self._received = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The service can begin; how long the body takes is limited there."""
        self._in_headers = False
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Wait for the rest of a body that nobody reads, and for the next request."""
        super().on_response_complete()
        self._work()
        if not self._in_work():
            self._wait(self.unread_seconds if self.flow.write_paused else self.timeout_keep_alive + self.header_seconds)

    # ------------------------------------------------------------ the caller has to read
    def pause_writing(self) -> None:
        """The caller does not read its answer: wait, but not for ever."""
        super().pause_writing()
        self._wait(self.unread_seconds)

    def resume_writing(self) -> None:
        """The caller has read."""
        super().resume_writing()
        self._work()
        if not self._in_work():
            self._wait(self.timeout_keep_alive + self.header_seconds)

    # ------------------------------------------------------------ waiting
    def _in_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self, seconds: float) -> None:
        if self._deadline is None:
            self.waits = next(_ORDER)
            self._deadline = self.loop.call_later(seconds, self._give_up)

    def _work(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.waits = None

    def _give_up(self) -> None:
        self.connections.discard(self)
        self.transport.abort()

    def _make_room(self) -> None:
        waiting = {c.waits: c for c in self.connections if isinstance(c, Connection) and c.waits is not None}
        waiting[min(waiting)]._give_up()  # this one is among them
