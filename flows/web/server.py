"""The server of the review and release pages: one process, no running service, closed to everybody without a key."""

from __future__ import annotations

import logging

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from bentos.middleware import keys
from bentos.middleware.auth import Guard
from bentos.middleware.body import BodyLimit
from bentos.middleware.sessions import PAGES
from bentos.runtime.canary_record import CanaryRecord
from bentos.runtime.feedback import Spool
from bentos.web.app import pages
from bentos.web.refusals import PageErrors
from bentos.web.render import Site
from bentos.web.sign_in import Accounts
from entityclip.paths import Layout, StateLayout
from flows.web import releases, review_pages, value_page
from flows.web.desk import Desk
from flows.web.model_view import ModelView
from flows.web.releases import ReleaseHistory
from flows.web.texts import TEXTS
from flows.web.value_page import ReleaseValue

SITE = Site(
    packages=("flows.web", "bentos.web"),
    texts=TEXTS,
    menu=(("review", "review"), ("releases", "releases")),
    style="review.css",
    scripts=("review.js",),
)
NEEDED: tuple[tuple[str, keys.Scope], ...] = (
    (f"{PAGES}/review", "review"),
    (f"{PAGES}/releases/", "release"),
)
"""Prefix of the path -> required scope; every other path requires ``query``."""
MAX_CONCURRENCY = 32
BODY_BYTES = 2**20

log = logging.getLogger(__name__)


def application(layout: Layout, state: StateLayout, *, keyless: bool = False, opinions: int = 1) -> ASGIApp:
    """The pages of one workspace with everything that protects them.

    Args:
        layout: The workspace.
        state: State folder of its service: API keys, sessions, feedback, the release in service.
        keyless: Serve callers on this machine without a key.
        opinions: Reviewers who must agree about a text, 1 or 2.

    Raises:
        ConfigError: The keys file, the secret of the sessions or the active release cannot be used.
    """
    site = pages(
        SITE,
        [
            Route("/", _home),
            Route("/review", review_pages.page),
            Route("/review/decide", review_pages.decide, methods=["POST"]),
            Route("/review/skip", review_pages.skip, methods=["POST"]),
            Route("/review/undo", review_pages.undo, methods=["POST"]),
            Route("/review/similar", review_pages.similar),
            Route("/review/decided", review_pages.decided),
            Route("/review/picture", review_pages.picture),
            Route("/releases", releases.page),
            Route("/releases/answer", releases.answer, methods=["POST"]),
            Route("/releases/report", releases.report),
            Route("/releases/value", value_page.page),
        ],
    )
    guarded = None if keyless else state
    site.state.accounts = Accounts(guarded)
    site.state.desk = Desk(layout, spool=Spool(state.feedback), opinions=opinions)
    site.state.model = ModelView(state)
    site.state.releases, site.state.canaries = ReleaseHistory(layout), CanaryRecord(state.canaries)
    site.state.value = ReleaseValue(layout)
    served: ASGIApp = Starlette(routes=[Route("/", _home), Mount(PAGES, site)])
    served = BodyLimit(served, limit=BODY_BYTES)
    served = Guard(served, state=guarded, keyless=keyless, max_concurrency=MAX_CONCURRENCY, needed=NEEDED)
    return PageErrors(served, keyed=not keyless, site=SITE)


async def _home(_: Request) -> Response:
    return RedirectResponse(review_pages.HOME, status_code=303)


def serve(app: ASGIApp, *, host: str, port: int) -> None:
    """Answer until the process is interrupted."""
    import uvicorn

    uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False)
