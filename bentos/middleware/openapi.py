"""``/docs.json`` as the service is: BentoML describes the endpoints, and here the description is put right.

BentoML knows neither which statuses a refusal has nor its form, takes texts of a form for JSON, and says of a field
that may be null that it may not.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

REFUSALS = {
    400: "The body is no JSON and no form.",
    401: "No valid key was sent.",
    403: "The key has not the scope that this needs.",
    408: "The body was not whole in time.",
    413: "The body is too large.",
    415: "The body is of another type than JSON or a form.",
    422: "A field, a text or a picture cannot be used.",
    429: "The key asks too often, or has too much in work.",
    500: "The service failed; its log says why.",
    503: "The service is full, or its disk is.",
    504: "There was no answer in time.",
}
"""Status -> what it means, of every endpoint that takes a body."""

AGAIN = (429, 503)
"""Statuses that say in ``Retry-After`` when to come again."""

PROBES = {"/livez": (), "/healthz": (), "/readyz": (503,), "/metrics": (401, 403, 429, 503)}
"""Endpoints of BentoML, and how each may refuse."""

_REF = "#/components/schemas/{model}"


class Description:
    """ASGI middleware that answers ``/docs.json``; everything else goes through.

    Args:
        app: What gets the other requests.
        service: The BentoML service that is described.
    """

    def __init__(self, app: ASGIApp, *, service: Any) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Describe the service, or hand the request on."""
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
                form.pop("encoding", None)  # texts of a form are texts
            asked = _schema(api.input_spec, schemas)
            pictures = set(api.input_spec.multipart_fields)
            if not pictures & set(asked.get("required", ())):
                content["application/json"] = {"schema": _without(asked, pictures)}
            operation["requestBody"]["required"] = bool(asked["properties"])
            answer = {"application/json": {"schema": _schema(api.output_spec, schemas)}}
            operation["responses"] = {"200": {"description": "The answer.", "content": answer}} | _refusals(REFUSALS)
            schemas[api.input_spec.__name__] = asked
            paths[api.route] = {"post": operation}
        security = {"key": {"type": "http", "scheme": "bearer", "description": "An API key: ec_..."}}
        return spec | {"paths": paths, "components": {"schemas": schemas, "securitySchemes": security}}


_REFUSAL = {
    "type": "object",
    "title": "Refusal",
    "description": "Why a request was not answered.",
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
    """An endpoint of BentoML's: it answers plain text."""
    answer = {"200": {"description": "The answer.", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    return {"get": path["get"] | {"responses": answer | _refusals(refusals)}}


def _schema(model: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of a request or an answer; what it refers to goes into ``schemas``."""
    schema = model.model_json_schema(ref_template=_REF, mode="serialization")
    schemas.update(schema.pop("$defs", {}))
    return schema


def _without(schema: dict[str, Any], fields: set[str]) -> dict[str, Any]:
    """The schema without some fields, which JSON has no place for."""
    left = {name: field for name, field in schema.get("properties", {}).items() if name not in fields}
    return schema | {"properties": left}
