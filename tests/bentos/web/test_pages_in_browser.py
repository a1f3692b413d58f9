"""The pages in a real browser: found by words and by photograph, harmless, quiet, accessible and small."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import HOSTILE
from hostile_site import Site, Visit, png
from printed import card, needs_reader
from printed import png as printed_png
from visitors import LONG, RIGHT_TO_LEFT, Visitor, require_harmless, require_quiet

from bentos.runtime.feedback import Feedback, Spool

pytestmark = pytest.mark.slow

FOUND = {"en-US": "The 6 closest products", "ja-JP": "近い順に 6 件"}
LANGUAGES = sorted(FOUND)
FIRST_LOAD = 100_000
"""Bytes of a first load without pictures."""


def judgements(site: Site) -> list[Feedback]:
    return [judged for _, judged in Spool(site.state.feedback).read()]


def search(visitor: Visitor, words: str) -> None:
    visitor.page.fill("#words", words)
    with visitor.page.expect_response("**/ui/search"):
        visitor.page.press("#words", "Enter")
    visitor.page.wait_for_selector("#found, [role=alert]")


def photograph(visitor: Visitor, content: bytes) -> None:
    with visitor.page.expect_response("**/ui/search"):
        visitor.page.set_input_files("#picture", {"name": "p.png", "mimeType": "image/png", "buffer": content})
    visitor.page.wait_for_selector("#found")


# ---------------------------------------------------------------- search
@pytest.mark.parametrize("locale", LANGUAGES)
def test_words_find_a_product_and_say_why(visit: Visit, locale: str) -> None:
    visitor = visit(locale=locale)
    search(visitor, "KX-PURPLE")
    page = visitor.page
    assert page.inner_text("#found").startswith(FOUND[locale])
    assert page.inner_text(".card h3") == "KX-PURPLE"
    assert page.inner_text(".card .pill") == {"en-US": "Exact match", "ja-JP": "完全一致"}[locale]
    assert "KX-PURPLE" in page.inner_text(".card .why")
    assert {"en-US": "Name", "ja-JP": "名前"}[locale] in page.inner_text(".card .why")
    assert page.url.endswith("/ui/?q=KX-PURPLE")
    page.reload()
    assert page.inner_text(".card h3") == "KX-PURPLE"
    assert page.get_attribute("html", "lang") == locale[:2]
    require_quiet(visitor)


@pytest.mark.parametrize("locale", LANGUAGES)
def test_a_photograph_finds_products_with_their_confidence(visit: Visit, locale: str, site: Site) -> None:
    visitor = visit(locale=locale)
    photograph(visitor, png("red"))
    page = visitor.page
    assert page.inner_text("#found").startswith(FOUND[locale])
    assert {"en-US": "confidence", "ja-JP": "確信度"}[locale] in page.inner_text(".card .figure")
    assert page.inner_text(".card .pill") == {"en-US": "Sure", "ja-JP": "確実"}[locale]
    page.click(".card .reasons summary")
    assert {"en-US": "Nearest photograph", "ja-JP": "最も近い写真"}[locale] in page.inner_text(".card .why")
    assert page.is_visible("#preview")
    assert page.evaluate("document.querySelector('.card img').naturalWidth") > 0
    first = page.inner_text(".card h3")
    page.click(".judge button[value=right]")
    page.wait_for_selector(".thanks")
    judged = judgements(site)[-1]
    assert (judged.verdict, judged.entity, judged.key) == ("right", first, site.key.split("_")[1])
    assert judged.picture.startswith(b"\x89PNG")
    page.click("#clear")
    assert not page.is_visible("#preview")
    require_quiet(visitor)


def read_photograph(visitor: Visitor, content: bytes) -> None:
    """Search by a photograph until its text was read: the first search of a service may not wait for the reader."""
    for _ in range(5):
        photograph(visitor, content)
        if visitor.page.query_selector(".read"):
            return
    pytest.fail("the text was never read in time")


@needs_reader
@pytest.mark.parametrize("locale", LANGUAGES)
def test_text_on_a_photograph_is_shown_where_it_stands(visit: Visit, locale: str) -> None:
    visitor = visit(locale=locale)
    shown = card(("KX-PURPLE", (40, 90)), ("<b>sale</b>", (40, 180)), pixels=44, size=(400, 260))
    read_photograph(visitor, printed_png(shown))
    page = visitor.page
    assert page.inner_text("#read") == {"en-US": "Text on your photograph", "ja-JP": "写真の文字"}[locale]
    assert page.inner_text(".card h3") == "KX-PURPLE"
    assert page.inner_text(".read li.telling") == "KX-PURPLE"
    lines = page.locator(".read li").all_inner_texts()
    assert len(lines) == 2
    page.wait_for_function("document.querySelector('.shown img').complete")
    box, picture = (page.locator(f".shown {what}").first.bounding_box() for what in (".box.telling", "img"))
    left, top = ((box[side] - picture[side]) / picture[size] for side, size in (("x", "width"), ("y", "height")))
    assert left == pytest.approx(0.1, abs=0.05)
    assert top == pytest.approx(0.37, abs=0.08)
    page.click(".card .reasons summary")
    assert {"en-US": "Read on a label", "ja-JP": "ラベルの文字"}[locale] in page.inner_text(".card .why")
    assert Axe().run(page).response["violations"] == []
    require_quiet(visitor)
    photograph(visitor, png("red"))
    assert page.query_selector(".shown .box") is None


def test_words_and_a_photograph_together(visit: Visit) -> None:
    visitor = visit()
    visitor.page.fill("#words", "KX-ORANGE")
    photograph(visitor, png("black"))
    assert visitor.page.inner_text(".card h3") == "KX-ORANGE"
    assert "confidence" in visitor.page.inner_text(".card .figure")
    require_quiet(visitor)


def test_a_photograph_can_be_pasted_and_dropped(visit: Visit) -> None:
    visitor = visit()
    send = """([kind, bytes]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], "p.png", {type: "image/png"}));
      const options = {bubbles: true, cancelable: true, [kind === "paste" ? "clipboardData" : "dataTransfer"]: data};
      document.body.dispatchEvent(kind === "paste" ? new ClipboardEvent(kind, options) : new DragEvent(kind, options));
    }"""
    for kind in ("paste", "drop"):
        with visitor.page.expect_response("**/ui/search"):
            visitor.page.evaluate(send, [kind, list(png("green"))])
        visitor.page.wait_for_selector("#found")
        visitor.page.click("#clear")
    require_quiet(visitor)


def test_the_language_can_be_switched_and_stays(visit: Visit) -> None:
    visitor = visit()
    search(visitor, "KX-PURPLE")
    visitor.page.reload()
    visitor.page.click("text=日本語")
    assert visitor.page.inner_text("#found").startswith(FOUND["ja-JP"])
    visitor.goto("/ui/")
    assert visitor.page.inner_text("h1") == "製品を探す"
    require_quiet(visitor)


def test_a_missing_product_is_reported(visit: Visit, site: Site) -> None:
    visitor = visit()
    search(visitor, "teapot")
    visitor.page.fill("#missing-name", "ZZ-1 急須")
    visitor.page.press("#missing-name", "Enter")
    visitor.page.wait_for_selector(".thanks")
    judged = judgements(site)[-1]
    assert (judged.verdict, judged.entity, judged.entity_id, judged.text) == ("missing", "ZZ-1 急須", "", "teapot")


def test_the_keyboard_is_enough(visit: Visit, site: Site) -> None:
    visitor = visit()
    page = visitor.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("/")
    page.keyboard.type("KX-BLACK")
    with page.expect_response("**/ui/search"):
        page.keyboard.press("Enter")
    page.wait_for_selector("#found")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.value") == "wrong":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector(".thanks")
    assert (judgements(site)[-1].verdict, judgements(site)[-1].entity) == ("wrong", "KX-BLACK")
    require_quiet(visitor)


@pytest.mark.parametrize("words", ["KX-PURPLE", ""])
def test_search_works_without_javascript(visit: Visit, words: str) -> None:
    visitor = visit(java_script_enabled=False)
    page = visitor.page
    page.fill("#words", words)
    if not words:
        page.set_input_files("#picture", {"name": "p.png", "mimeType": "image/png", "buffer": png("red")})
    page.click("#search button.main")
    page.wait_for_selector("#found")
    assert page.inner_text("#found").startswith(FOUND["en-US"])
    assert page.locator(".judge").count() == (
        6 if words else 0
    )  # a photograph is not kept, so it cannot be judged later
    if words:
        page.click(".judge button[value=right]")
        assert "Thank you" in page.inner_text(".thanks")


# ---------------------------------------------------------------- safety
@pytest.mark.parametrize("locale", LANGUAGES)
def test_hostile_texts_of_the_catalogue_do_nothing(visit: Visit, locale: str) -> None:
    visitor = visit(locale=locale)
    search(visitor, "kettle")
    assert visitor.page.locator(".card").count() == 6
    require_harmless(visitor)
    links = visitor.page.eval_on_selector_all(".card h3 a", "all => all.map(one => one.getAttribute('href'))")
    for link in links:
        visitor.goto(link)
        require_harmless(visitor)
    photograph_page = visit(locale=locale)
    photograph(photograph_page, png("blue"))
    require_harmless(photograph_page)
    for one in (visitor, photograph_page):
        require_quiet(one)
        wide = one.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0  # 10,000 characters without a blank do not widen the page


@pytest.mark.parametrize("words", [HOSTILE[:1900], RIGHT_TO_LEFT, "\x00\x01", "%s%n{{7*7}}", "'; DROP TABLE name; --"])
def test_hostile_words_do_nothing(visit: Visit, words: str) -> None:
    visitor = visit()
    search(visitor, words)
    require_harmless(visitor)
    visitor.page.reload()
    require_harmless(visitor)
    visitor.page.fill("#missing-name", (HOSTILE[:200] + words)[:300])
    visitor.page.press("#missing-name", "Enter")
    visitor.page.wait_for_selector(".thanks")
    require_harmless(visitor)
    require_quiet(visitor)


def test_ten_thousand_characters_are_refused_with_a_sentence(visit: Visit) -> None:
    visitor = visit()
    visitor.page.eval_on_selector("#words", "(one, text) => { one.maxLength = 1e6; one.value = text; }", LONG)
    with visitor.page.expect_response("**/ui/search"):
        visitor.page.press("#words", "Enter")
    assert "at most 2000 characters" in visitor.page.inner_text("[role=alert]")
    require_harmless(visitor)
    assert visitor.foreign() == []


# ---------------------------------------------------------------- form
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_pass_axe(visit: Visit, width: int, scheme: str, site: Site) -> None:
    visitor = visit(color_scheme=scheme, viewport={"width": width, "height": 800})

    def check(name: str) -> None:
        found = Axe().run(visitor.page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == [], name
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width, name

    check("search")
    photograph(visitor, png("red"))
    check("results")
    visitor.page.click(".judge button[value=right]")
    visitor.page.wait_for_selector(".thanks")
    check("thanks")
    visitor.page.click(".card h3 a")
    check("product")
    visitor.goto("/ui/nothing-here")
    check("error")
    visitor.goto("/ui/")
    visitor.page.click("text=Sign out")
    visitor.page.wait_for_selector("#key")
    check("sign in")
    assert visitor.foreign() == []


def test_the_first_load_is_small(visit: Visit, site: Site) -> None:
    visitor = visit(signed_in=False)
    visitor.sign_in(site.key)
    sizes: dict[str, int] = {}
    visitor.page.on("response", lambda got: sizes.setdefault(got.url, len(got.body())))
    visitor.page.context.clear_cookies()
    fresh = visit()
    fresh.page.on("response", lambda got: sizes.setdefault(got.url, len(got.body())))
    fresh.goto("/ui/?q=KX-PURPLE")
    fresh.page.wait_for_load_state("networkidle")
    static = Path(__file__).parents[3] / "bentos/web/static"
    scripts = sum((static / name).stat().st_size for name in ("htmx.min.js", "pages.js", "icon.svg"))
    page = next(size for url, size in sizes.items() if "q=KX-PURPLE" in url)
    style = len(fresh.page.request.get(f"{site.url}/ui/static/pages.css").body())
    assert 0 < page + style + scripts <= FIRST_LOAD
