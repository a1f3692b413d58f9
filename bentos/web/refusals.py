"""Errors as pages: what a program gets as JSON, a person gets as a sentence and a way on."""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bentos.middleware.sessions import SIGN_IN, is_page
from bentos.web.render import SERVICE, SITE, Site, is_fragment, render
from bentos.web.texts import EN

log = logging.getLogger("entityclip.edge")


class PageErrors:
    """Outermost ASGI middleware: turns the errors of the pages that are not HTML into pages.

    Args:
        app: The next ASGI application.
        keyed: Whether visitors can sign in with a key.
        site: The pages.
    """

    def __init__(self, app: ASGIApp, *, keyed: bool, site: Site = SERVICE) -> None:
        self.app, self.keyed, self.site = app, keyed, site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; replace the response if it is an error."""
        if scope["type"] != "http" or not is_page(scope["path"]):
            return await self.app(scope, receive, send)
        held = _Held(send)
        scope[SITE] = self.site
        try:
            await self.app(scope, receive, held)
        except Exception:
            if held.started:
                raise
            log.exception("%s failed", scope["path"])
            return await refusal_page(Request(scope), 500)(scope, receive, send)
        if held.error is not None:
            return await self._page(Request(scope), held)(scope, receive, send)
        return None

    def _page(self, request: Request, held: _Held) -> Response:
        status = held.status
        if status == 401 and self.keyed:
            return _to_sign_in(request)
        page = refusal_page(request, status, reason=held.reason)
        if status == 401:
            page.headers["WWW-Authenticate"] = "Bearer"
        if (after := held.header("retry-after")) is not None:
            page.headers["Retry-After"] = after
        return page


def refusal_page(request: Request, status: int, *, reason: str = "") -> Response:
    """A page, or a part of one, that says why the request was refused.

    Args:
        request: What is refused.
        status: HTTP status.
        reason: What the service says, in English; '' for nothing beyond the status.
    """
    known = f"error_{status}" if f"error_{status}" in EN else "error_422" if status < 500 else "error_500"
    return render(request, "error.html.j2", status=status, what=known, reason=reason if status != 404 else "")


def _to_sign_in(request: Request) -> Response:
    """The sign-in page, which leads back to the page of a GET."""
    back = {}
    if request.method == "GET" and not is_fragment(request):
        back = {"next": request.url.path + (f"?{request.url.query}" if request.url.query else "")}
    target = f"{SIGN_IN}?{urlencode(back)}" if back else SIGN_IN
    if is_fragment(request):  # a redirect would be followed inside the page
        return Response(status_code=401, headers={"HX-Redirect": target})
    return RedirectResponse(target, status_code=303)


class _Held:
    """A ``send`` that holds an error back unless it is a page already."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.started = False
        self.error: Message | None = None
        self.body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            kind = dict(message["headers"]).get(b"content-type", b"")
            if not kind.startswith(b"text/html"):
                self.error = message
                return
        if self.error is not None:
            self.body += message.get("body", b"")
            return
        self.started = True
        await self.send(message)

    @property
    def status(self) -> int:
        return int(self.error["status"]) if self.error else 200

    @property
    def reason(self) -> str:
        """The reason in the JSON of a refusal; '' for any other body."""
        try:
            content: Any = json.loads(self.body)
        except ValueError:
            return ""
        return str(content.get("error", "")) if isinstance(content, dict) else ""

    def header(self, name: str) -> str | None:
        headers = dict(self.error["headers"]) if self.error else {}
        value: bytes | None = headers.get(name.encode())
        return None if value is None else value.decode("latin-1")
