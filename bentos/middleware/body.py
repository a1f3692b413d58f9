"""Limits on the size of a request body and on the time to receive it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bentos.middleware.auth import is_open
from bentos.middleware.errors import refusal

BODY_BYTES = 32 * 2**20
OPEN_BYTES = 8 * 2**10
"""Limit on the body of a request that needs no key, such as a form to sign in."""
HELD_BYTES = 256 * 2**20
"""Limit on all bodies in work together, so that many large requests cannot fill the memory."""
BODY_SECONDS = 15.0


class BodyLimit:
    """ASGI middleware that reads the whole body, and responds with 413, 408 or 503 if a limit is exceeded.

    Counts the bytes as they arrive, because a chunked upload has no Content-Length and a given one may be wrong.

    Args:
        app: The next ASGI application.
        limit: Most bytes of one body.
        held: Most bytes of all bodies in work in this worker.
        seconds: Timeout for the whole body. A slow upload must not block a place for long.
    """

    def __init__(
        self, app: ASGIApp, *, limit: int = BODY_BYTES, held: int = HELD_BYTES, seconds: float = BODY_SECONDS
    ) -> None:
        self.app, self.limit, self.most_held, self.seconds = app, limit, held, seconds
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its whole body, or refuse it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body = bytearray()
        limit = min(self.limit, OPEN_BYTES) if is_open(scope["path"]) else self.limit
        try:
            refused = await self._read(receive, body, limit)
            if refused is None:
                return await self.app(scope, _replay(bytes(body), receive), send)
            return await refused(scope, receive, send)
        except ClientDisconnect:
            return None
        finally:
            self.held -= len(body)

    async def _read(self, receive: Receive, body: bytearray, limit: int) -> JSONResponse | None:
        """Fill ``body``. Returns a refusal, or None if the body is complete."""
        try:
            async with asyncio.timeout(self.seconds):
                async for piece in _pieces(receive):
                    body += piece
                    self.held += len(piece)
                    if len(body) > limit:
                        return refusal(413, f"the request is larger than {limit} bytes")
                    if self.held > self.most_held:
                        return refusal(503, "too many large requests are in work; retry after 1 second", after=1)
        except TimeoutError:
            late = refusal(408, f"the request was not complete after {self.seconds:g} s")
            late.headers["Connection"] = "close"  # do not wait for the rest
            return late
        return None


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    """Parts of the body as they arrive.

    Raises:
        ClientDisconnect: The client disconnected before its request was complete.
    """
    while (message := await receive())["type"] == "http.request":
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return
    raise ClientDisconnect


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that returns ``body`` once, then the messages after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
