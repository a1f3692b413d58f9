"""How much of a request is read, and how long it may take to come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bentos.middleware.errors import refusal

BODY_BYTES = 32 * 2**20
HELD_BYTES = 256 * 2**20
"""Of all requests in work together: many large ones at once must not fill the memory."""
BODY_SECONDS = 15.0


class BodyLimit:
    """ASGI middleware: reads the whole body, and answers 413, 408 or 503 where a limit is passed.

    The bytes are counted as they come: a chunked upload announces no length, and an announced one may lie.

    Args:
        app: What gets the request.
        limit: Bytes of one body.
        held: Bytes of all bodies in work in this worker.
        seconds: Until the body must be whole; whoever trickles it in holds a place that others need.
    """

    def __init__(
        self, app: ASGIApp, *, limit: int = BODY_BYTES, held: int = HELD_BYTES, seconds: float = BODY_SECONDS
    ) -> None:
        self.app, self.limit, self.most_held, self.seconds = app, limit, held, seconds
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on with its whole body, or refuse it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body = bytearray()
        try:
            refused = await self._read(receive, body)
            if refused is None:
                return await self.app(scope, _replay(bytes(body), receive), send)
            return await refused(scope, receive, send)
        except ClientDisconnect:
            return None
        finally:
            self.held -= len(body)

    async def _read(self, receive: Receive, body: bytearray) -> JSONResponse | None:
        """Fill ``body``; a refusal, or None when it is whole."""
        try:
            async with asyncio.timeout(self.seconds):
                async for piece in _pieces(receive):
                    body += piece
                    self.held += len(piece)
                    if len(body) > self.limit:
                        return refusal(413, f"the request is larger than {self.limit} bytes")
                    if self.held > self.most_held:
                        return refusal(503, "too many large requests are in work", after=1)
        except TimeoutError:
            late = refusal(408, f"the request was not whole after {self.seconds:g} s")
            late.headers["Connection"] = "close"  # the rest is not waited for
            return late
        return None


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    """The body as it comes.

    Raises:
        ClientDisconnect: The client went away before its request was whole.
    """
    while (message := await receive())["type"] == "http.request":
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return
    raise ClientDisconnect


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives ``body`` once, then whatever comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
