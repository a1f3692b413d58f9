"""The service's outermost layer, outside of BentoML's own: what is counted, under which name.

``add_asgi_middleware`` puts a layer inside BentoML's metrics, which keep a time series for every path that anybody ever
asked for: 6,000 made-up paths were 47 MB of metrics.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from _bentoml_sdk import Service
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

UNKNOWN = "unknown"
"""Endpoint of all requests whose path the service does not have, in the metrics."""

_ASKED = "entityclip.path"
"""Key of the scope that holds the path as it was asked for."""


class EdgeService(Service[Any]):
    """A BentoML service that counts requests by the endpoints it has; the argument ``service_class`` takes it."""

    def to_asgi(self, is_main: bool = True) -> Starlette:
        """The service's application, as BentoML makes it, with the two layers around its metrics."""
        app = cast(Starlette, super().to_asgi(is_main))
        app.user_middleware.insert(1, Middleware(AskedPath))  # BentoML's metrics are the first
        app.add_middleware(EndpointPath, routes=app.routes)  # outside of them
        return app


class EndpointPath:
    """ASGI middleware that names a request by its endpoint instead of its path, for the layers up to ``AskedPath``.

    Args:
        app: What counts the request.
        routes: Endpoints of the service. A folder of files counts as one; any other path is ``UNKNOWN``.
    """

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute]) -> None:
        self.app = app
        routes = list(routes)
        self.paths = {route.path for route in routes if isinstance(route, Route)}
        self.folders = [f"{route.path}/" for route in routes if isinstance(route, Mount)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on under the name of its endpoint."""
        if scope["type"] in ("http", "websocket"):
            scope = {**scope, "path": self._endpoint(scope["path"]), _ASKED: scope["path"]}
        await self.app(scope, receive, send)

    def _endpoint(self, path: str) -> str:
        return path if path in self.paths else next((f for f in self.folders if path.startswith(f)), UNKNOWN)


class AskedPath:
    """ASGI middleware that gives a request back the path that ``EndpointPath`` replaced."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on under its own path."""
        if _ASKED in scope:
            scope = {**scope, "path": scope[_ASKED]}
        await self.app(scope, receive, send)
