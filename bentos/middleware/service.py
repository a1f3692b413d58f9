"""Outermost layer of the service: bounds the paths under which BentoML's metrics count requests.

BentoML keeps a time series for every requested path: 6,000 invented paths made 47 MB of metrics. A middleware added by
``add_asgi_middleware`` runs inside these metrics and cannot change that.
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
"""Label in the metrics for all paths that the service does not have."""

_REQUESTED = "entityclip.path"
"""Key in the ASGI scope for the path that was requested."""


class EdgeService(Service[Any]):
    """A BentoML service that counts requests by endpoint; pass it as ``service_class``."""

    def to_asgi(self, is_main: bool = True) -> Starlette:
        """BentoML's application with the two middlewares around its metrics."""
        app = cast(Starlette, super().to_asgi(is_main))
        app.user_middleware.insert(1, Middleware(RequestedPath))  # BentoML's metrics are the first
        app.add_middleware(EndpointPath, routes=app.routes)  # outside of them
        return app


class EndpointPath:
    """ASGI middleware that replaces the path of a request by its endpoint, for the layers up to ``RequestedPath``.

    Args:
        app: The next ASGI application.
        routes: Endpoints of the service. A folder of files is one endpoint; any other path is ``UNKNOWN``.
    """

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute]) -> None:
        self.app = app
        routes = list(routes)
        self.paths = {route.path for route in routes if isinstance(route, Route)}
        self.folders = [f"{route.path}/" for route in routes if isinstance(route, Mount)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its endpoint."""
        if scope["type"] in ("http", "websocket"):
            scope = {**scope, "path": self._endpoint(scope["path"]), _REQUESTED: scope["path"]}
        await self.app(scope, receive, send)

    def _endpoint(self, path: str) -> str:
        return path if path in self.paths else next((f for f in self.folders if path.startswith(f)), UNKNOWN)


class RequestedPath:
    """ASGI middleware that restores the path that ``EndpointPath`` replaced."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its own path."""
        if _REQUESTED in scope:
            scope = {**scope, "path": scope[_REQUESTED]}
        await self.app(scope, receive, send)
