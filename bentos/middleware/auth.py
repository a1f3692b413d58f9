"""Checks the API key, its scope and its limits, before the body is read."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import get_args

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bentos.middleware import keys, sign_on
from bentos.middleware.errors import refusal
from bentos.middleware.keys import Key, KeyFile
from bentos.middleware.limits import Limits, Refused
from bentos.middleware.sessions import COOKIE, PAGES, SIGN_IN, VISITOR, Sessions, Visitor, is_foreign, is_page
from entityclip.paths import StateLayout

OPEN = (
    *("/livez", "/readyz", "/healthz", "/docs.json", "/schema.json", "/static_content/", "/assets/"),
    *(SIGN_IN, f"{PAGES}/static/"),
)
"""Paths that need no key: probes, the description of the API, the sign-in page and its style. They reveal nothing about
pictures or entities.
"""

NEEDED: tuple[tuple[str, keys.Scope], ...] = (
    ("/metrics", "metrics"),
    ("/feedback", "feedback"),
    ("/entities", "entities"),
    (f"{PAGES}/feedback", "feedback"),
    (f"{PAGES}/products/", "entities"),
)
"""Prefix of the path -> required scope; every other path requires ``query``."""

LOCAL = Key(
    id="local",
    name="this machine",
    secret_sha256="",
    scopes=get_args(keys.Scope),
    per_minute=1_000_000,
    max_concurrency=10_000,
    made=datetime(2000, 1, 1, tzinfo=UTC),
)
"""Key of local callers of a service without a state folder."""

caller: ContextVar[str] = ContextVar("caller", default=LOCAL.id)
"""Id of the key of the current request."""

log = logging.getLogger("entityclip.edge")


class Guard:
    """ASGI middleware that passes a request on, or responds with 401, 403, 429 or 503 and the reason.

    A service without a state folder has no keys and refuses every caller. With ``keyless`` it serves callers on this
    machine, but no request that a foreign web page makes from a browser. ``keyless`` must be set explicitly: a proxy on
    this machine that adds no header cannot be distinguished from a local caller.

    The pages take the cookie of a session in place of a key, or the name that a trusted proxy passes (``sign_on``);
    every other path takes a key alone.

    Args:
        app: The next ASGI application.
        state: State folder with the keys; None for a service without one.
        keyless: Whether callers on this machine need no key if there is no state folder.
        max_concurrency: Concurrent requests in this worker; one more gets 503.
        workers: Number of workers that share the rate of each key.
        needed: Prefix of a path -> required scope; every other path requires ``query``.

    Raises:
        ConfigError: The keys file or the settings of the sign-on cannot be used.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        state: StateLayout | None,
        keyless: bool = False,
        max_concurrency: int,
        workers: int = 1,
        needed: Sequence[tuple[str, keys.Scope]] = NEEDED,
    ) -> None:
        self.app, self.max_concurrency, self.keyless, self.needed = app, max_concurrency, keyless, needed
        self.keys = None if state is None else KeyFile(state.keys)
        self.sessions = None if state is None else Sessions(state.sessions)
        self.sign_on = None if state is None else sign_on.from_environment()
        self.limits = Limits(workers=workers)
        self.in_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "websocket":  # not supported
            return await send({"type": "websocket.close", "code": 1008})
        if scope["type"] != "http" or is_open(scope["path"]):
            return await self.app(scope, receive, send)
        key = self._caller(scope)
        if isinstance(key, JSONResponse):
            return await key(scope, receive, send)
        if self.in_work >= self.max_concurrency:
            return await refusal(503, "the service is busy; retry after 1 second", after=1)(scope, receive, send)
        try:
            allowance = self.limits.enter(key)
        except Refused as limit:
            return await refusal(429, limit.reason, after=limit.after)(scope, receive, send)
        self.in_work += 1
        caller.set(key.id)
        try:
            return await self.app(scope, receive, send)
        finally:
            self.in_work -= 1
            allowance.in_work -= 1

    def _caller(self, scope: Scope) -> Key | JSONResponse:
        """The key that allows this request, or the refusal."""
        headers = Headers(scope=scope)
        if self.keys is None:
            scope[VISITOR] = Visitor(LOCAL, "")
            return LOCAL if self.keyless and _is_local(scope, headers) else refusal(401, _NO_KEYS)
        key = self._visitor(scope, headers) if is_page(scope["path"]) else self._bearer(headers)
        if isinstance(key, JSONResponse):
            return key
        needed = next((right for path, right in self.needed if scope["path"].startswith(path)), "query")
        if needed not in key.scopes:
            log.warning("key %s requested %s without the scope %s", key.id, scope["path"], needed)
            return refusal(403, f"this key has no scope {needed!r}; use a key with that scope")
        return key

    def _bearer(self, headers: Headers) -> Key | JSONResponse:
        """The key that a program presents."""
        assert self.keys is not None
        kind, _, presented = headers.get("authorization", "").partition(" ")
        key = self.keys.find(presented.strip()) if kind.lower() == "bearer" else None
        return key or refusal(401, "send a valid key: Authorization: Bearer ec_...")

    def _visitor(self, scope: Scope, headers: Headers) -> Key | JSONResponse:
        """The key for which a person's session stands, or that has the name of the person a proxy names."""
        assert self.keys is not None
        assert self.sessions is not None
        person = None if self.sign_on is None else self.sign_on.person(scope, headers)
        if person is not None:
            return self._named(scope, headers, person)
        session = self.sessions.read(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""))
        key = None if session is None else self.keys.get(session.key_id)
        if session is None or key is None:
            return refusal(401, "sign in: there is no session, or it has ended")
        if is_foreign(headers):
            return refusal(403, "this request came from a page of another origin")
        scope[VISITOR] = Visitor(key, session.token)
        return key

    def _named(self, scope: Scope, headers: Headers, person: str) -> Key | JSONResponse:
        """The one valid key with this name."""
        assert self.keys is not None
        assert self.sessions is not None
        key = self.keys.named(person)
        if key is None:
            log.warning("a proxy names %r, and no key or several keys have this name", person)
            return refusal(403, f"no key, or more than one, has the name {person!r}; an administrator can create one")
        if is_foreign(headers):
            return refusal(403, "this request came from a page of another origin")
        scope[VISITOR] = Visitor(key, self.sessions.token_of(key.id))
        return key


_NO_KEYS = (
    "this service has no keys; set ENTITYCLIP_STATE to a folder and make a key with `entityclip keys create`, or, "
    "if no proxy runs in front of it, set ENTITYCLIP_KEYLESS=local to serve callers on its own machine without a key"
)

FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
"""Headers that a proxy adds for the client that it forwards."""

_PORT = re.compile(r":\d+$")


def is_open(path: str) -> bool:
    """Whether a path needs no key."""
    return path == "/" or any(path == name or (name.endswith("/") and path.startswith(name)) for name in OPEN)


def _is_local(scope: Scope, headers: Headers) -> bool:
    """Whether the caller is on this machine and addressed the service by a local host name.

    Rejects requests that a proxy forwards, and requests that a foreign web page makes from a local browser: these carry
    the page's host name, either in ``Host`` (DNS rebinding) or in ``Origin``.
    """
    host = headers.get("host", "")
    return (
        _is_loopback((scope.get("client") or ("",))[0])
        and not any(name in headers for name in FORWARDED)
        and _is_loopback(_PORT.sub("", host).strip("[]"))
        and not is_foreign(headers)
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
