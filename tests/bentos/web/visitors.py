"""The pages as people meet them: a running service with keys, hostile data and a real browser."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from browser import BROWSERS_OWN, HOSTILE
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright
from served import Released
from tiny import tiny_data, tiny_model, tiny_picture

from bentos.build.contents import lay_out
from bentos.build.smoke_test import serving
from bentos.middleware import keys
from bentos.runtime.active_release import Live
from entityclip.data import pairs
from entityclip.paths import DataLayout, Layout, PackageLayout, StateLayout
from entityclip.schemas import PackageCard

LONG = "長い名前" * 2500
RIGHT_TO_LEFT = "\u202ekcaj/gpj.exe \u05d0\u05d1\u05d2 \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u2066x"
HOSTILE_TEXTS = {"KX-RED": HOSTILE, "KX-GREEN": LONG, "KX-BLUE": RIGHT_TO_LEFT, "KX-ORANGE": "{{ 7 * 7 }} {% raw %}"}
"""Entity -> text that stands beside its name, as alias, explanation, category and file name."""


def png(colour: str = "red", number: int = 1) -> bytes:
    stream = io.BytesIO()
    tiny_picture(colour, number).save(stream, "PNG")
    return stream.getvalue()


def hostile_data(root: Path) -> DataLayout:
    """``tiny_data`` with ``HOSTILE_TEXTS`` wherever a user's text can stand."""
    plain = tiny_data(root.with_name("plain"))
    data = DataLayout(root)
    pairs.start(data)

    def changed(row: dict[str, Any]) -> dict[str, Any]:
        text = HOSTILE_TEXTS.get(row.get("entity", row.get("caption")), "")
        own = {"aliases": ["kettle", text], "category": text[:300], "tags": [text[:300]]}
        if "image" in row:
            own |= {"caption": f"{row['entity']} {text}", "image": row["image"] | {"path": f"{text[:100]}.png"}}
        if "text" in row:
            own |= {"text": f"{row['text']} {text}"}
        return row | {name: value for name, value in own.items() if text and name in row}

    for split in ("train", "val", "test"):
        pairs.write_rows(data.pairs, pairs.PAIRS, map(changed, pairs.iter_rows(plain.pairs, name=split)), name=split)
    pairs.write_rows(data.entities, pairs.ENTITIES, map(changed, pairs.iter_rows(plain.entities)), name="entities")
    texts = map(changed, pairs.iter_rows(plain.explanations))
    pairs.write_rows(data.explanations, pairs.EXPLANATIONS, texts, name="explanations")
    pairs.finish(data, pairs=sum(1 for _ in pairs.iter_rows(data.pairs, columns=["pair_id"])))
    return data


class Site(NamedTuple):
    """A running service with pages."""

    url: str
    state: StateLayout
    key: str
    """With every right of a person."""


@pytest.fixture(scope="session")
def site(store_home: Path, released: Released, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    source, state = Layout(folder / "release"), StateLayout(folder / "state")
    shutil.copytree(released.layout.reports, source.reports)
    data = hostile_data(source.data.root)
    fingerprint = tiny_model(source.model.root, thresholds={"0.9": 0.1}).card.fingerprint
    release = released.release.model_copy(update={"version": "v2.0.0", "model_fingerprint": fingerprint})
    target = PackageLayout(folder / "package")
    lay_out(target, source, data, PackageCard(release=release, suite_hash="", licences=()))
    key = keys.make(state.keys, name="person", scopes=("query", "feedback", "entities"), per_minute=100_000)
    Live(champion=target.root).write(state.live)
    with serving("bentos.service:EntityClip", store=store_home, state=state.root) as url:
        yield Site(url, state, key)


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
        self.page.wait_for_selector("#search")

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


def require_harmless(visitor: Visitor) -> None:
    """Texts of users became no markup and ran no script."""
    assert visitor.page.title() != "pwned"
    scripts = visitor.page.eval_on_selector_all("script", "all => all.map(one => new URL(one.src).pathname)")
    assert scripts == ["/ui/static/htmx.min.js", "/ui/static/pages.js"]
    assert visitor.page.locator("base, iframe, object, embed, style, main b b, meta[http-equiv]").count() == 0
    attributes = "all => all.flatMap(one => one.getAttributeNames()).filter(n => n.startsWith('on') || n === 'style')"
    assert visitor.page.eval_on_selector_all("*", attributes) == []


Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")  # while Playwright runs, no other test of this process can start an event loop
def chromium(program: Callable[..., Path]) -> Iterator[Browser]:
    path = program("chromium", package="chromium")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser, site: Site) -> Iterator[Visit]:
    """``visit(locale="ja-JP", signed_in=True, ...)``: a tab of a browser of its own; the rest as for a context."""
    contexts: list[BrowserContext] = []

    def opened(*, locale: str = "en-US", signed_in: bool = True, **options: Any) -> Visitor:
        context = chromium.new_context(locale=locale, **options)
        contexts.append(context)
        visitor = Visitor(context.new_page(), site.url)
        visitor.page.on("request", lambda request: visitor.requests.append(request.url))
        visitor.page.on("console", visitor.note)
        visitor.page.on("pageerror", lambda error: visitor.messages.append(f"error: {error}"))
        visitor.page.on("dialog", lambda dialog: visitor.messages.append(f"dialog: {dialog.message}"))
        if signed_in:
            visitor.sign_in(site.key)
        return visitor

    yield opened
    for context in contexts:
        context.close()
