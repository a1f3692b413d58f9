"""Timeouts and limits on connections, so that idle or slow clients cannot exhaust them.

uvicorn closes a connection that is idle between two requests, but not one that never sends a request, sends its headers
byte by byte, or does not read the response. ``use`` installs ``Connection`` in every uvicorn server of this process.
"""

from __future__ import annotations

import asyncio
import itertools
import resource
from typing import Any, ClassVar

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0
"""Timeout for the headers, counted from the connection or from the first byte of a later request."""

UNREAD_SECONDS = 60.0
"""Timeout for a client that does not read the response."""

HEADER_BYTES = 64 * 2**10

MAX_CONNECTIONS = 512
"""Per worker; fewer if the system's limit on open files is low."""

_ORDER = itertools.count()  # the event loop's clock is too coarse to order connections

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
    """Make ``Connection`` the default HTTP protocol of uvicorn in this process."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"


def most_connections() -> int:
    """``MAX_CONNECTIONS``, or half of the limit on open files if that is lower."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MAX_CONNECTIONS, files // 2) if files != resource.RLIM_INFINITY else MAX_CONNECTIONS


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP protocol with timeouts for the client.

    If there are too many connections, the one that has waited longest for its client is closed, so that probes always
    get in. A connection with a request in work is never closed for that.
    """

    header_seconds: ClassVar[float] = HEADER_SECONDS
    unread_seconds: ClassVar[float] = UNREAD_SECONDS
    most: ClassVar[int] = most_connections()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waits: int | None = None
        """Sequence number of the moment when it began to wait for its client; None while a request is in work."""
        self._deadline: asyncio.TimerHandle | None = None
        self._in_headers = False
        self._received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeout for the first request."""
        super().connection_made(transport)
        self._wait(self.header_seconds)
        if len(self.connections) > self.most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timeout."""
        self._work()
        super().connection_lost(exc)

    # ------------------------------------------------------------ waiting for the client to send
    def data_received(self, data: bytes) -> None:
        """Read data; further bytes of the same headers do not extend the timeout."""
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
        """Start counting the bytes of the headers."""
        self._in_headers, self._received = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """End of the headers; ``BodyLimit`` limits the time for the body."""
        self._in_headers = False
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Start the timeout for the next request, and for the unread rest of this one's body."""
        super().on_response_complete()
        self._work()
        if not self._in_work():
            self._wait(self.unread_seconds if self.flow.write_paused else self.timeout_keep_alive + self.header_seconds)

    # ------------------------------------------------------------ waiting for the client to read
    def pause_writing(self) -> None:
        """Start the timeout for a client that does not read the response."""
        super().pause_writing()
        self._wait(self.unread_seconds)

    def resume_writing(self) -> None:
        """Cancel that timeout."""
        super().resume_writing()
        self._work()
        if not self._in_work():
            self._wait(self.timeout_keep_alive + self.header_seconds)

    # ------------------------------------------------------------ timeouts
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
        waiting[min(waiting)]._give_up()  # never empty: this connection itself is waiting
