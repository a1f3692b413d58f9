"""The review pages in a real browser: keys, two languages, hostile texts, accessibility, and no script at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext
from reviewers import make_key, quarantined_workspace, serving
from visitors import Visitor, new_tab, require_harmless, require_quiet

from entityclip.paths import Layout
from entityclip.quality.review import Review, read_reviews
from flows import approve
from flows.workspace.registry import champion

pytestmark = pytest.mark.slow

SCRIPTS = ("review.js",)
Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return quarantined_workspace(tmp_path_factory.mktemp("hostile") / "workspace", texts=180, hostile=True)


@pytest.fixture(scope="module")
def people(hostile: Layout) -> dict[str, str]:
    """Name -> key."""
    names = ("Ana", "Dora", "花子", "axe light", "axe dark", "Emil", "Fay", "Gus")
    return {name: make_key(hostile, name) for name in names}


@pytest.fixture(scope="module")
def url(hostile: Layout, people: dict[str, str]) -> Iterator[str]:
    with serving(hostile) as address:
        yield address


@pytest.fixture
def visit(url: str, people: dict[str, str], chromium: Browser) -> Iterator[Visit]:
    """``visit("Ana", locale="ja-JP", ...)``: a reviewer's tab, signed in."""
    contexts: list[BrowserContext] = []

    def opened(name: str, **options: object) -> Visitor:
        visitor = new_tab(chromium, url, contexts, **options)
        visitor.sign_in(people[name])
        return visitor

    yield opened
    for context in contexts:
        context.close()


def item(visitor: Visitor) -> str:
    return str(visitor.page.get_attribute("input[name=item]", "value"))


def press(visitor: Visitor, key: str) -> None:
    """Press a key and wait for other content, by a new page or in this one."""
    visitor.page.evaluate("document.getElementById('content').dataset.before = ''")
    visitor.page.keyboard.press(key)
    visitor.page.wait_for_selector("#content:not([data-before])")


def test_keys_are_enough_and_advance_by_themselves(visit: Visit, hostile: Layout) -> None:
    ana = visit("Ana")

    def decided_by_ana() -> dict[str, Review]:
        return {r.explanation_id: r for r in read_reviews(hostile.reviews) if r.reviewer == "Ana"}

    seen = [item(ana)]
    for key in "arar":
        press(ana, key)
        seen.append(item(ana))
    ana.page.keyboard.press("e")
    ana.page.keyboard.press("ControlOrMeta+a")
    ana.page.keyboard.type("A disc, and no letter of it is a key: a r s u.")
    press(ana, "Control+Enter")
    press(ana, "s")
    press(ana, "a")
    press(ana, "u")
    stored = decided_by_ana()
    assert [stored[key].decision for key in seen] == ["accept", "reject", "accept", "reject", "edit"]
    assert stored[seen[-1]].edited_text == "A disc, and no letter of it is a key: a r s u."
    assert len(stored) == 5
    ana.page.wait_for_function("document.querySelector('[role=status]').textContent === 'Taken back: 1.'")
    for key in "ar" * 47 + "a":
        press(ana, key)
    assert len(decided_by_ana()) == 100
    while not ana.page.is_visible("[data-key=b]"):
        press(ana, "s")
    press(ana, "b")
    ana.page.uncheck(".cases li:nth-child(2) input")
    ticked = 1 + ana.page.locator(".cases input:checked").count()
    assert f"Drop the ticked texts: {ticked}" in ana.page.inner_text(".danger")
    ana.page.keyboard.press("r")  # chooses the button; one key alone decides nothing here
    press(ana, "Enter")
    assert f"Dropped: {ticked}." in ana.page.inner_text(".thanks")
    ana.page.wait_for_function("document.querySelector('.pictures img').naturalWidth > 0")
    ana.page.click("#keys")
    before = item(ana)
    ana.page.keyboard.press("a")
    ana.page.wait_for_timeout(200)
    assert item(ana) == before
    require_harmless(ana, scripts=SCRIPTS)
    require_quiet(ana)


def test_two_reviewers_in_two_languages_see_harmless_and_different_items(visit: Visit) -> None:
    ana, ben = visit("Dora"), visit("花子", locale="ja-JP")
    assert ben.page.inner_text("h1") == "レビュー"
    assert ben.page.inner_text("button[data-key=a]").startswith("この文を使う")
    require_harmless(ana, scripts=SCRIPTS)
    for _ in range(6):  # all six hostile texts
        assert item(ana) != item(ben)
        require_harmless(ben, scripts=SCRIPTS)
        press(ben, "s")
    ben.goto("/ui/review/decided")
    require_harmless(ben, scripts=SCRIPTS)
    for visitor in (ana, ben):
        require_quiet(visitor)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_pages_pass_axe_and_fit_a_phone(visit: Visit, scheme: str, width: int) -> None:
    visitor = visit(f"axe {scheme}", color_scheme=scheme, viewport={"width": width, "height": 800})

    def check(name: str) -> None:
        found = Axe().run(visitor.page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == [], name
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width, name

    while not visitor.page.is_visible("[data-key=b]"):
        press(visitor, "s")
    check("item")
    press(visitor, "b")
    check("similar cases")
    visitor.goto("/ui/review/decided")
    check("decided")
    visitor.goto("/ui/releases")
    check("releases")
    require_quiet(visitor)


def test_a_decision_needs_no_script(visit: Visit, hostile: Layout) -> None:
    ana = visit("Emil", java_script_enabled=False)
    first = item(ana)
    ana.page.click("button[value=reject]")
    assert ana.page.inner_text("[role=status]") == "Dropped: 1."
    assert {r.explanation_id: r.decision for r in read_reviews(hostile.reviews)}[first] == "reject"


def test_a_decision_loads_no_page_and_its_history_is_as_if_it_did(visit: Visit) -> None:
    fay = visit("Fay")
    page, first = fay.page, item(fay)
    page.evaluate("window.same = true")
    press(fay, "a")
    second = item(fay)
    assert second != first
    assert page.evaluate("window.same") is True
    assert page.url.endswith("/ui/review?done=accept-1")
    assert page.evaluate("document.activeElement.id") == "entity"
    page.wait_for_function("document.querySelector('[role=status]').textContent === 'Kept: 1.'")
    press(fay, "u")
    assert item(fay) == first
    assert page.url.endswith("/ui/review?done=undo-1")
    page.focus(".skip")
    page.keyboard.press("Enter")
    assert page.url.endswith("#content")
    assert page.evaluate("window.same") is True
    page.go_back()
    page.go_back()
    page.wait_for_function("window.same === undefined && document.getElementById('content')")
    assert page.url.endswith("/ui/review?done=accept-1")
    require_harmless(fay, scripts=SCRIPTS)
    require_quiet(fay)


def test_what_was_typed_outlives_a_fault_and_every_refusal_is_shown(visit: Visit) -> None:
    gus = visit("Gus")
    page, first = gus.page, item(gus)
    page.evaluate("window.same = true")
    page.fill("#edited", "A disc.")
    page.context.set_offline(True)
    page.click("#correct")
    page.wait_for_selector("#complaint :text('No answer came.')")
    assert (page.input_value("#edited"), item(gus)) == ("A disc.", first)
    page.context.set_offline(False)
    token = page.input_value("#decide [name=token]")
    page.evaluate("document.querySelector('#decide [name=token]').value = 'old'")
    page.click("#correct")
    page.wait_for_selector("#complaint :text('Your session has ended')")
    assert (page.input_value("#edited"), item(gus)) == ("A disc.", first)
    page.evaluate("value => { document.querySelector('#decide [name=token]').value = value }", token)
    page.fill("#edited", "")
    page.focus("#edited")
    press(gus, "Control+Enter")
    assert "This decision was not stored." in page.inner_text("[role=alert].notice")
    assert item(gus) == first
    assert page.evaluate("window.same") is True
    page.context.clear_cookies()
    page.keyboard.press("r")
    page.wait_for_url("**/ui/sign-in*")
    assert gus.foreign() == []


def test_a_release_is_approved_once_in_the_browser(
    undecided: Layout, chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    live: list[str] = []
    monkeypatch.setattr(approve, "ensure_smoke_tested", lambda *_: None)  # these releases hold no real model
    monkeypatch.setattr(approve, "go_live", lambda _, release: live.append(release.version))
    contexts: list[BrowserContext] = []
    key = make_key(undecided, "Ana")
    with serving(undecided) as url:
        ana = new_tab(chromium, url, contexts)
        ana.sign_in(key)
        ana.goto("/ui/releases")
        assert "Put v1.1.0 into service?" in ana.page.inner_text("main")
        assert Axe().run(ana.page).response["violations"] == []
        ana.page.fill("[name=comment]", "R@1 as expected")
        with ana.page.expect_navigation():
            ana.page.click("button[value=approve]")
        assert ana.page.inner_text("[role=status]") == "Approved. The release is in service."
        assert "Approved by Ana. R@1 as expected" in ana.page.inner_text("main")
        assert ana.page.locator("button[name=answer]").count() == 0
        require_harmless(ana, scripts=SCRIPTS)
        require_quiet(ana)
        contexts[0].close()
    now = champion(undecided)
    assert now is not None
    assert live == [now.version] == ["v1.1.0"]
