"""Products that are added, changed and removed while the service runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bentos.middleware.errors import Refusal, Unusable
from bentos.middleware.sessions import PAGES
from bentos.runtime.entities import EntityFacts
from bentos.schemas.requests import MOST_PICTURES, EntityRequest, RemovalRequest
from bentos.web.forms import read_form
from bentos.web.language import NAMES, language_of
from bentos.web.render import render, visitor_of
from entityclip.errors import faults
from entityclip.schemas import EntityEntry

FIELDS = ("entity_id", "entity", "aliases", "category", "tags", "date", "language", "explanations")


async def overview(request: Request) -> Response:
    """What was changed since the release, and the way to add a product."""
    changed = await run_in_threadpool(request.app.state.backend.changed)
    return render(request, "products.html.j2", changed=changed, editable=is_editor(request))


async def edit(request: Request) -> Response:
    """The form for a new product, or for the one in the address."""
    backend, entity_id = request.app.state.backend, request.query_params.get("id")
    if not entity_id:
        return _form(request, {"language": _usual_language(request)})
    facts = await run_in_threadpool(backend.facts, entity_id)
    if facts is None:
        return render(request, "error.html.j2", status=404, what="product_unknown", reason="")
    return _form(request, _typed(entity_id, backend.entry(facts)), facts=facts)


async def put(request: Request) -> Response:
    """Add or change a product; the next search finds it."""
    backend = request.app.state.backend
    form = await read_form(request, most_pictures=MOST_PICTURES)
    typed = {name: form.fields.get(name, "").strip() for name in FIELDS}
    facts = await run_in_threadpool(backend.facts, typed["entity_id"]) if typed["entity_id"] else None
    if not typed["entity_id"] and (taken := await run_in_threadpool(backend.named, typed["entity"])):
        return _form(request, typed, problem="name_taken", taken=taken, status=422)
    try:
        wanted = _request(typed, form.pictures, keep=facts is None or "keep_pictures" in form.fields)
        entity_id = await run_in_threadpool(backend.put, wanted)
    except Refusal as error:
        return _form(request, typed, problem="error_form", refusal=str(error), facts=facts, status=422)
    return RedirectResponse(f"{PAGES}/product?{urlencode({'id': entity_id, 'saved': '1'})}", status_code=303)


async def remove(request: Request) -> Response:
    """Remove a product with its photographs."""
    form = await read_form(request)
    try:
        wanted = RemovalRequest(entity_id=form.fields.get("entity_id", ""))
    except ValidationError as error:
        raise Unusable(faults(error, whole="the form")) from None
    await run_in_threadpool(request.app.state.backend.remove, wanted)
    return RedirectResponse(f"{PAGES}/products", status_code=303)


def is_editor(request: Request) -> bool:
    """Whether this visitor may change products here."""
    visitor = visitor_of(request)
    return visitor is not None and "entities" in visitor.key.scopes and request.app.state.backend.changeable


def _request(typed: Mapping[str, str], pictures: list[bytes], *, keep: bool) -> EntityRequest:
    """The form as a request of the API.

    Raises:
        Unusable: A field cannot be used.
    """
    fields: dict[str, Any] = {name: typed[name] or None for name in ("entity_id", "category", "date")}
    fields |= {"entity": typed["entity"], "language": typed["language"] or "en"}
    fields |= {"aliases": _lines(typed["aliases"]), "tags": _lines(typed["tags"])}
    fields |= {"explanations": _paragraphs(typed["explanations"]), "images": pictures, "keep_pictures": keep}
    try:
        return EntityRequest.model_validate(fields)
    except ValidationError as error:
        raise Unusable(faults(error, whole="the form")) from None


def _typed(entity_id: str, entry: EntityEntry) -> dict[str, str]:
    """An entry as the fields of the form."""
    return {
        "entity_id": entity_id,
        "entity": entry.entity,
        "aliases": "\n".join(entry.aliases),
        "category": entry.category or "",
        "tags": "\n".join(entry.tags),
        "date": "" if entry.date is None else entry.date.isoformat(),
        "language": entry.language,
        "explanations": "\n\n".join("\n".join(_lines(text)) for text in entry.explanations),
    }


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _paragraphs(text: str) -> list[str]:
    """Parts between blank lines, each with its own line breaks."""
    parts = ("\n".join(_lines(part)) for part in re.split(r"\n[^\S\n]*\n", "\n".join(text.splitlines())))
    return [part for part in parts if part]


def _usual_language(request: Request) -> str:
    """Language that a new product most likely has: that of the catalogue if it has one alone, else that of the page."""
    known = request.app.state.backend.choices().languages or []
    return known[0] if len(known) == 1 else language_of(request)


def _languages(request: Request, typed: str) -> list[str]:
    """Languages to choose from: those of the catalogue first, and always the one that is set."""
    known = request.app.state.backend.choices().languages or []
    return list(dict.fromkeys([*([typed] if typed else []), *known, *NAMES]))


def _form(
    request: Request, typed: Mapping[str, str], *, facts: EntityFacts | None = None, status: int = 200, **values: Any
) -> Response:
    """The form with what was typed. Photographs have to be chosen again, since no page can fill in a file."""
    common = {"problem": "", "refusal": "", "taken": ""} | values
    fields = dict.fromkeys(FIELDS, "") | dict(typed)
    common |= {"typed": fields, "language_codes": _languages(request, fields["language"])}
    return render(request, "edit.html.j2", status=status, facts=facts, most=MOST_PICTURES, **common)
