"""Rendering of a page in the visitor's language, with the headers that keep it safe."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from bentos import settings
from bentos.middleware.sessions import PAGES, VISITOR, Visitor
from bentos.web import language
from bentos.web.language import Language
from bentos.web.texts import TEXTS
from entityclip.reports.pages import page_environment

POLICY = (
    "default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
"""Content-Security-Policy: nothing from another host, and neither script nor style inside a page."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every response of the pages."""

LANGUAGE_SECONDS = 365 * 24 * 3600


class Site(NamedTuple):
    """Pages with one look: templates, texts, static files and menu. A site may build on the packages of another."""

    packages: tuple[str, ...]
    """Each has ``templates/`` and ``static/``; of two files with one name, that of the first package counts."""
    texts: Mapping[Language, Mapping[str, str]]
    menu: tuple[tuple[str, str], ...]
    """Path below ``PAGES`` and the name of its text."""
    style: str
    """Template of the style sheet."""
    scripts: tuple[str, ...]


SERVICE = Site(
    packages=("bentos.web",),
    texts=TEXTS,
    menu=(("", "search"), ("products", "products")),
    style="pages.css",
    scripts=("htmx.min.js", "pages.js"),
)
"""Pages of the service."""

SITE = "entityclip.site"
"""Key in the ASGI scope for the ``Site`` of a request; without it, the site is that of the service."""


@cache
def _environment(packages: tuple[str, ...]) -> jinja2.Environment:
    environment = page_environment(*packages)
    environment.filters["percent"] = percent
    environment.filters["utc_minute"] = utc_minute
    environment.filters["language_name"] = language.language_name
    return environment


def percent(share: float) -> str:
    """A share as whole percent, without claiming 0 or 100."""
    return "< 1 %" if share < 0.01 else "> 99 %" if share > 0.99 else f"{100 * share:.0f} %"


def utc_minute(seconds: float) -> str:
    """A time since 1970 as ``2026-11-23 09:30``, UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


@cache
def style(packages: tuple[str, ...], name: str) -> str:
    """A style sheet; colours and base are those of the reports."""
    return _environment(packages).get_template(name).render()


@cache
def _version(packages: tuple[str, ...], name: str) -> str:
    """Changes with every static file, so that browsers may keep them."""
    digest = hashlib.sha256(style(packages, name).encode())
    for package in packages:
        for path in sorted((files(package) / "static").iterdir(), key=lambda path: path.name):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def site_of(request: Request) -> Site:
    """The site whose page is requested."""
    site: Site = request.scope.get(SITE, SERVICE)
    return site


def visitor_of(request: Request) -> Visitor | None:
    """Who requests a page; None on the sign-in page."""
    visitor: Visitor | None = request.scope.get(VISITOR)
    return visitor


def is_fragment(request: Request) -> bool:
    """Whether the script of the page replaces a part of it, so that the response needs no frame."""
    return request.headers.get("hx-request") == "true"


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """The page ``template``.

    Args:
        request: What is answered; it has the language and the visitor.
        template: Name of a file in ``templates/``.
        status: HTTP status.
        **values: Variables of the template, beside those that every page has.
    """
    chosen, site = language.language_of(request), site_of(request)
    common = {
        "lang": chosen,
        "languages": language.LANGUAGES,
        "t": site.texts[chosen],
        "base": PAGES,
        "version": _version(site.packages, site.style),
        "scripts": site.scripts,
        "menu": site.menu,
        "review_url": settings.REVIEW_URL if site is SERVICE else "",
        "visitor": visitor_of(request),
        "fragment": is_fragment(request),
        "here": max(
            (path for path, _ in site.menu if request.url.path.startswith(f"{PAGES}/{path}")), key=len, default=""
        ),
        "switch": {code: _in_language(request, code) for code in language.LANGUAGES},
    }
    html = _environment(site.packages).get_template(template).render(common | values)
    page = HTMLResponse(html.encode("utf-8", errors="replace"), status_code=status, headers=HEADERS)
    page.headers["Cache-Control"] = "no-store"
    page.headers["Vary"] = "Accept-Language, Cookie, HX-Request"
    if language.chosen(request) is not None:
        page.set_cookie(language.COOKIE, chosen, max_age=LANGUAGE_SECONDS, path=PAGES, httponly=True, samesite="strict")
    return page


def _in_language(request: Request, code: str) -> str:
    """Address of the same page in another language; a page that was sent a form leads to the search."""
    if request.method != "GET":
        return f"{PAGES}/?lang={code}"
    url = request.url.include_query_params(lang=code)
    return f"{url.path}?{url.query}"
