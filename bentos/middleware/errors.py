"""Every error response is one JSON object ``{"error": reason}`` and shows nothing else of the program."""

from __future__ import annotations

import json
import logging
import math
from http import HTTPStatus
from typing import Any

from bentoml.exceptions import BentoMLException
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bentos.middleware.sessions import is_page

log = logging.getLogger("entityclip.edge")


class Refusal(BentoMLException):
    """A request that the client must change. BentoML responds with the status ``error_code``."""


class Unreadable(Refusal):
    """400: the body cannot be parsed as JSON or as a form."""

    error_code = HTTPStatus.BAD_REQUEST


class Unusable(Refusal):
    """422: the request was parsed, but cannot be processed."""

    error_code = HTTPStatus.UNPROCESSABLE_ENTITY


class WrongType(Refusal):
    """415: the content type is not supported."""

    error_code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


def log_failures_only() -> None:
    """Keep refusals out of BentoML's exception log: callers could fill it with tracebacks, which may quote texts."""
    logging.getLogger("bentoml._internal.server.http_app").addFilter(_is_failure)


def _is_failure(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], Refusal))


def refusal(status: int, reason: str, *, after: float | None = None) -> JSONResponse:
    """A response with this status and reason. ``after``: seconds for ``Retry-After``."""
    headers = {} if after is None else {"Retry-After": str(max(1, math.ceil(after)))}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": reason}, status_code=status, headers=headers)


class ErrorFormat:
    """ASGI middleware that rewrites every error response of the API into the format of ``refusal``.

    Pages explain their errors to people (``bentos.web.refusals``) and pass unchanged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; rewrite the response if it is an error."""
        if scope["type"] != "http" or is_page(scope["path"]):
            return await self.app(scope, receive, send)
        response = _ErrorRewriter(send)
        try:
            await self.app(scope, receive, response)
        except Exception:  # the application did not respond at all
            log.exception("%s failed", scope["path"])
            if response.started:
                raise
            await refusal(500, "internal error; the service's log has the details")(scope, receive, send)
        return None


class _ErrorRewriter:
    """A ``send`` that holds an error response back until its body is complete."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.started = False
        self._error: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._error = message
        elif self._error is None:
            self.started = True
            await self.send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_error(self._error)

    async def _send_error(self, start: Message) -> None:
        status = start["status"]
        headers = MutableHeaders(raw=list(start["headers"]))
        body = json.dumps({"error": _reason(self._body, status)}, ensure_ascii=False).encode()
        headers["content-type"], headers["content-length"] = "application/json", str(len(body))
        if status in (429, 503):
            headers.setdefault("retry-after", "1")
        self.started = True
        await self.send({**start, "headers": headers.raw})
        await self.send({"type": "http.response.body", "body": body})


def _reason(body: bytes, status: int) -> str:
    """Reason of an error: BentoML sends ``[{"error": ...}]``, Starlette plain text. Default: the name of the status."""
    try:
        content: Any = json.loads(body)
    except ValueError:
        content = body.decode(errors="replace").strip()
    content = content[0] if isinstance(content, list) and content else content
    content = content.get("error", "") if isinstance(content, dict) else content
    return str(content) or HTTPStatus(status).phrase
