"""Corrects BentoML's OpenAPI description and serves it as ``/docs.json``.

BentoML's description lacks the error responses, declares text fields of a form as JSON, and omits null from nullable
fields.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

REFUSALS = {
    400: "The body cannot be parsed as JSON or as a form.",
    401: "No valid key was sent.",
    403: "The key does not have the required scope.",
    408: "The body was not complete in time.",
    413: "The body is too large.",
    415: "The content type is neither JSON nor a form.",
    422: "A field, a text or a picture cannot be used.",
    429: "The key exceeds its rate or its concurrent requests.",
    500: "Internal error; the service's log has the details.",
    503: "The service is busy, or cannot write to its disk.",
    504: "The request timed out.",
}
"""Status -> meaning, for every endpoint that takes a body."""

AGAIN = (429, 503)
"""Statuses with a ``Retry-After`` header."""

PROBES = {"/livez": (), "/healthz": (), "/readyz": (503,), "/metrics": (401, 403, 429, 503)}
"""BentoML's own endpoints -> their error statuses."""

_REF = "#/components/schemas/{model}"


class Description:
    """ASGI middleware that serves ``/docs.json`` and passes every other request on.

    Args:
        app: The next ASGI application.
        service: The BentoML service to describe.
    """

    def __init__(self, app: ASGIApp, *, service: Any) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the description, or pass the request on."""
        if scope["type"] == "http" and scope["path"] == "/docs.json" and scope["method"] == "GET":
            return await JSONResponse(self._described)(scope, receive, send)
        return await self.app(scope, receive, send)

    @cached_property
    def _described(self) -> dict[str, Any]:
        spec = self.service.openapi_spec.asdict() | {"openapi": "3.1.0", "security": [{"key": []}, {}]}
        schemas: dict[str, Any] = {"Refusal": _REFUSAL}
        paths = {path: _probe(spec["paths"][path], refusals) for path, refusals in PROBES.items()}
        for api in self.service.apis.values():
            operation = spec["paths"][api.route]["post"]
            content = operation["requestBody"]["content"]
            for form in content.values():
                form.pop("encoding", None)  # text fields of a form are plain text, not JSON
            request = _schema(api.input_spec, schemas)
            pictures = set(api.input_spec.multipart_fields)
            if not pictures & set(request.get("required", ())):
                content["application/json"] = {"schema": _without(request, pictures)}
            operation["requestBody"]["required"] = bool(request["properties"])
            answer = {"application/json": {"schema": _schema(api.output_spec, schemas)}}
            operation["responses"] = {"200": {"description": "The response.", "content": answer}} | _refusals(REFUSALS)
            schemas[api.input_spec.__name__] = request
            paths[api.route] = {"post": operation}
        security = {"key": {"type": "http", "scheme": "bearer", "description": "An API key: ec_..."}}
        return spec | {"paths": paths, "components": {"schemas": schemas, "securitySchemes": security}}


_REFUSAL = {
    "type": "object",
    "title": "Refusal",
    "description": "Why the request was refused.",
    "properties": {"error": {"type": "string", "minLength": 1}},
    "required": ["error"],
    "additionalProperties": False,
}


def _refusals(statuses: Any) -> dict[str, Any]:
    """Status -> response object."""
    content = {"application/json": {"schema": {"$ref": _REF.format(model="Refusal")}}}
    after = {"Retry-After": {"description": "Seconds.", "required": True, "schema": {"type": "integer", "minimum": 1}}}
    return {
        str(status): {"description": REFUSALS[status], "content": content}
        | ({"headers": after} if status in AGAIN else {})
        for status in statuses
    }


def _probe(path: dict[str, Any], refusals: tuple[int, ...]) -> dict[str, Any]:
    """One of BentoML's own endpoints, which respond with plain text."""
    answer = {"200": {"description": "The response.", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    return {"get": path["get"] | {"responses": answer | _refusals(refusals)}}


def _schema(model: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """JSON schema of a request or a response; referenced schemas are added to ``schemas``."""
    schema = model.model_json_schema(ref_template=_REF, mode="serialization")
    schemas.update(schema.pop("$defs", {}))
    return schema


def _without(schema: dict[str, Any], fields: set[str]) -> dict[str, Any]:
    """The schema without ``fields``, which JSON cannot carry."""
    left = {name: field for name, field in schema.get("properties", {}).items() if name not in fields}
    return schema | {"properties": left}
