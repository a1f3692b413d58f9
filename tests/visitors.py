"""Tabs of a real browser whose requests, messages and errors are recorded, and texts that attack a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from browser import BROWSERS_OWN, HOSTILE
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

LONG = "長い名前" * 2500
RIGHT_TO_LEFT = "\u202ekcaj/gpj.exe \u05d0\u05d1\u05d2 \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u2066x"
HOSTILE_TEXTS = {"KX-RED": HOSTILE, "KX-GREEN": LONG, "KX-BLUE": RIGHT_TO_LEFT, "KX-ORANGE": "{{ 7 * 7 }} {% raw %}"}
"""Entity -> text that stands beside its name, as alias, explanation, category and file name."""


@dataclass
class Visitor:
    """A tab whose requests, messages and errors are recorded."""

    page: Page
    url: str
    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.messages.append(f"{message.type}: {message.text}")

    def goto(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")

    def sign_in(self, key: str) -> None:
        self.goto("/ui/")
        self.page.fill("#key", key)
        self.page.press("#key", "Enter")
        self.page.wait_for_selector(".menu")

    def foreign(self) -> list[str]:
        """Requests to any other host than the service's."""
        own = urlsplit(self.url).netloc
        hosts = {request: urlsplit(request) for request in self.requests}
        return [
            r for r, u in hosts.items() if u.scheme != "blob" and u.netloc != own and u.hostname not in BROWSERS_OWN
        ]


def require_quiet(visitor: Visitor) -> None:
    """No message in the console, no dialog, no error, no request to another host."""
    assert visitor.messages == []
    assert visitor.foreign() == []


SCRIPTS = ("htmx.min.js", "pages.js")
"""Of the service's pages."""


def require_harmless(visitor: Visitor, *, scripts: tuple[str, ...] = SCRIPTS) -> None:
    """Texts of users became no markup and ran no script."""
    assert visitor.page.title() != "pwned"
    loaded = visitor.page.eval_on_selector_all("script", "all => all.map(one => new URL(one.src).pathname)")
    assert loaded == [f"/ui/static/{name}" for name in scripts]
    assert visitor.page.locator("base, iframe, object, embed, style, main b b, meta[http-equiv]").count() == 0
    attributes = "all => all.flatMap(one => one.getAttributeNames()).filter(n => n.startsWith('on') || n === 'style')"
    assert visitor.page.eval_on_selector_all("*", attributes) == []


@pytest.fixture(scope="module")  # while Playwright runs, no other test of this process can start an event loop
def chromium(program: Callable[..., Path]) -> Iterator[Browser]:
    path = program("chromium", package="chromium")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


def new_tab(
    browser: Browser, url: str, contexts: list[BrowserContext], *, locale: str = "en-US", **options: Any
) -> Visitor:
    """A tab of a context of its own, which ``contexts`` gets; ``options`` as for a context."""
    context = browser.new_context(locale=locale, **options)
    contexts.append(context)
    visitor = Visitor(context.new_page(), url)
    visitor.page.on("request", lambda request: visitor.requests.append(request.url))
    visitor.page.on("console", visitor.note)
    visitor.page.on("pageerror", lambda error: visitor.messages.append(f"error: {error}"))
    visitor.page.on("dialog", lambda dialog: visitor.messages.append(f"dialog: {dialog.message}"))
    return visitor
