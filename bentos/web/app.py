"""Routes of the pages. A route reads the request, lets the backend answer, and renders a template."""

from __future__ import annotations

from typing import Any

from bentoml.exceptions import BentoMLException
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from bentos.middleware.errors import Unusable
from bentos.schemas.requests import LONGEST_TEXT, FeedbackRequest
from bentos.web import products, sign_in
from bentos.web.backend import Backend
from bentos.web.forms import SearchForm, read_form, search_form
from bentos.web.refusals import refusal_page
from bentos.web.render import HEADERS, SERVICE, Site, is_fragment, render, site_of, style, visitor_of
from entityclip.errors import faults

STATIC_SECONDS = 365 * 24 * 3600
PICTURE_SECONDS = 3600


def application() -> Starlette:
    """The pages of the service. ``state.backend`` is set once it has loaded its release."""
    routes: list[BaseRoute] = [
        Route("/", home),
        Route("/search", search, methods=["POST"]),
        Route("/product", product),
        Route("/picture", picture),
        Route("/feedback", feedback, methods=["POST"]),
        Route("/products", products.overview),
        Route("/products/edit", products.edit),
        Route("/products/put", products.put, methods=["POST"]),
        Route("/products/remove", products.remove, methods=["POST"]),
    ]
    return pages(SERVICE, routes)


def pages(site: Site, routes: list[BaseRoute]) -> Starlette:
    """The pages of a site with sign-in, style, static files and errors. ``state.accounts`` is set before a request."""
    shared: list[BaseRoute] = [
        Route("/sign-in", sign_in.page, methods=["GET"]),
        Route("/sign-in", sign_in.submit, methods=["POST"]),
        Route("/sign-out", sign_in.sign_out, methods=["POST"]),
        Route("/static/pages.css", style_sheet),
        Mount("/static", StaticFiles(packages=[(package, "static") for package in site.packages])),
    ]
    handlers: Any = {HTTPException: refused, BentoMLException: refused}
    return Starlette(routes=[*routes, *shared], exception_handlers=handlers)


def backend_of(request: Request) -> Backend:
    """What answers."""
    backend: Backend = request.app.state.backend
    return backend


# ---------------------------------------------------------------- search
async def home(request: Request) -> Response:
    """The form, and the results of the words in the address."""
    return await _found(request, search_form(request.query_params))


async def search(request: Request) -> Response:
    """Results for a form. A form without a photograph leads to an address that can be kept."""
    form = await read_form(request)
    query = search_form(form.fields, form.picture)
    if query.picture is None and not is_fragment(request) and not query.too_long:
        return RedirectResponse(query.address, status_code=303)
    response = await _found(request, query)
    if is_fragment(request) and response.status_code == 200:
        response.headers["HX-Push-Url"] = query.address
    return response


async def _found(request: Request, query: SearchForm) -> Response:
    backend = backend_of(request)
    values: dict[str, Any] = {"query": query, "results": None, "examples": [], "problem": "", "refusal": ""}
    status = 200
    try:
        if query.too_long:
            values["problem"], status = "error_long", 422
        elif not query.empty:
            values["results"] = await run_in_threadpool(backend.search, query.request())
        elif is_fragment(request):
            values["problem"] = "nothing_given"
        else:
            values["examples"] = await run_in_threadpool(backend.examples)
    except Unusable as error:
        values |= {"problem": "error_422", "refusal": str(error)}
        status = 422
    template = "results.html.j2" if is_fragment(request) else "search.html.j2"
    return _page(request, template, status=status, **values)


# ---------------------------------------------------------------- a product
async def product(request: Request) -> Response:
    """Texts, photographs and evidence of one product."""
    backend, words = backend_of(request), request.query_params.get("q", "").strip()[:LONGEST_TEXT]
    facts = await run_in_threadpool(backend.facts, request.query_params.get("id", ""))
    if facts is None:
        return render(request, "error.html.j2", status=404, what="product_unknown", reason="")
    why = await run_in_threadpool(backend.evidence, words, facts.entity_id) if words else ()
    on_labels = await run_in_threadpool(backend.label_words, facts.entity_id)
    values = {"saved": "saved" in request.query_params, "editable": products.is_editor(request)}
    return _page(request, "product.html.j2", facts=facts, words=words, why=why, label_words=on_labels, **values)


async def picture(request: Request) -> Response:
    """A small photograph."""
    ids = request.query_params
    jpeg = await run_in_threadpool(backend_of(request).picture, ids.get("entity", ""), ids.get("id", ""))
    if jpeg is None:
        raise HTTPException(404)
    headers = HEADERS | {"Cache-Control": f"private, max-age={PICTURE_SECONDS}"}
    return Response(jpeg, media_type="image/jpeg", headers=headers)


# ---------------------------------------------------------------- feedback
async def feedback(request: Request) -> Response:
    """Store whether a result was right, or which product was missing."""
    backend, form = backend_of(request), await read_form(request)
    fields, name = form.fields, form.fields.get("entity", "").strip()
    entity_id = fields.get("entity_id") or (await run_in_threadpool(backend.named, name) if name else None)
    judgement: dict[str, Any] = {
        "release": fields.get("release", ""),
        "verdict": fields.get("verdict", ""),
        "entity_id": entity_id,
        "entity": None if entity_id else name or None,
        "text": fields.get("text", "").strip() or None,
        "image": form.picture,
    }
    try:
        request_of_api = FeedbackRequest.model_validate(judgement)
    except ValidationError as error:
        raise Unusable(faults(error, whole="the form")) from None
    await run_in_threadpool(backend.judge, request_of_api)
    return render(request, "thanks.html.j2", back=search_form({"q": fields.get("text", "")}).address)


# ---------------------------------------------------------------- parts
async def style_sheet(request: Request) -> Response:
    """The style of all pages."""
    headers = HEADERS | {"Cache-Control": f"public, max-age={STATIC_SECONDS}"}
    site = site_of(request)
    return Response(style(site.packages, site.style), media_type="text/css", headers=headers)


def _page(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """A page with the facts of the release, and whether this visitor's feedback can be stored."""
    backend, visitor = backend_of(request), visitor_of(request)
    may_judge = visitor is not None and "feedback" in visitor.key.scopes
    common = {
        "release": backend.release.version,
        "model": backend.release.predictor.about(),
        "choices": backend.choices(),
        "most_words": LONGEST_TEXT,
        "no_feedback": "" if backend.keeps_feedback and may_judge else _no_feedback(backend),
    }
    return render(request, template, status=status, **common, **values)


def _no_feedback(backend: Backend) -> str:
    """Name of the text that says why there is no feedback."""
    return "no_feedback_right" if backend.keeps_feedback else "no_feedback"


async def refused(request: Request, error: Exception) -> Response:
    """An error of a route as a page."""
    if isinstance(error, HTTPException):
        if error.detail == "error_session":
            return render(request, "error.html.j2", status=403, what="error_session", reason="")
        return refusal_page(request, error.status_code)
    assert isinstance(error, BentoMLException)
    return refusal_page(request, int(error.error_code), reason=str(error))
