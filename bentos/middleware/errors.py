"""Every refusal and failure as one JSON object ``{"error": reason}``; nothing else about the program leaves."""

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

log = logging.getLogger("entityclip.edge")


class Refusal(BentoMLException):
    """A request that its sender must change. BentoML gives it the status ``error_code``."""


class Unreadable(Refusal):
    """400: the request is no JSON and no form."""

    error_code = HTTPStatus.BAD_REQUEST


class Unusable(Refusal):
    """422: the request was read, and asks for the impossible."""

    error_code = HTTPStatus.UNPROCESSABLE_ENTITY


class WrongType(Refusal):
    """415: the request is of a type that is not read."""

    error_code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


def log_failures_only() -> None:
    """Keep refusals out of BentoML's log of exceptions: anybody could fill it with traces, and they may quote texts."""
    logging.getLogger("bentoml._internal.server.http_app").addFilter(_is_failure)


def _is_failure(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], Refusal))


def refusal(status: int, reason: str, *, after: float | None = None) -> JSONResponse:
    """An answer with this status and reason; ``after``: seconds until it is worth to ask again."""
    headers = {} if after is None else {"Retry-After": str(max(1, math.ceil(after)))}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": reason}, status_code=status, headers=headers)


class ErrorFormat:
    """ASGI middleware, the outermost: whatever failed further in leaves in the one form of ``refusal``."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on; rewrite what comes back if it is an error."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        answer = _Answer(send)
        try:
            await self.app(scope, receive, answer)
        except Exception:  # only what is no answer at all arrives here
            log.exception("%s failed", scope["path"])
            if answer.started:
                raise
            await refusal(500, "the service failed; its log says why")(scope, receive, send)
        return None


class _Answer:
    """A ``send`` that holds an error back until its body is whole."""

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
    """BentoML says ``[{"error": ...}]``, Starlette plain text; an unexplained one gets the name of its status."""
    try:
        said: Any = json.loads(body)
    except ValueError:
        said = body.decode(errors="replace").strip()
    said = said[0] if isinstance(said, list) and said else said
    said = said.get("error", "") if isinstance(said, dict) else said
    return str(said) or HTTPStatus(status).phrase
