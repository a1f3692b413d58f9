"""Products that people add, change and remove in the browser: found at once, and never by someone without the right."""

from __future__ import annotations

import re
import time

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import HOSTILE
from hostile_site import Site, Visit, png
from visitors import Visitor, require_harmless, require_quiet

from bentos.client import Client
from bentos.middleware import keys

pytestmark = pytest.mark.slow


def picture(colour: str, number: int = 1) -> dict[str, object]:
    return {"name": f"{number}.png", "mimeType": "image/png", "buffer": png(colour, number)}


def names(visitor: Visitor) -> list[str]:
    return visitor.page.locator(".rows h3").all_inner_texts()


def first_by_photograph(site: Site, content: bytes) -> str:
    with Client(site.url, key=site.key) as client:
        return client.search(image=content, k=1, index="images", target="entities").hits[0].entity


def remove(visitor: Visitor) -> None:
    """Remove the product whose page is open."""
    visitor.page.click(".remove summary")
    visitor.page.click(".remove .danger")
    visitor.page.wait_for_url("**/ui/products")


@pytest.mark.parametrize("locale", ["en-US", "ja-JP"])
def test_a_product_is_added_found_changed_and_removed(visit: Visit, site: Site, locale: str) -> None:
    visitor = visit(locale=locale)
    page, name = visitor.page, f"ZZ-{len(locale)}{locale[:2]} 新しいやかん"
    visitor.goto("/ui/products")
    page.click("text=製品を追加" if locale == "ja-JP" else "text=Add a product")
    page.fill("#entity", name)
    page.fill("#aliases", "new kettle\n新製品")
    assert page.input_value("#language") == "en"  # the only one of the catalogue
    page.fill("#explanations", "A pink body,\nglazed.\n \nA black handle.")
    page.select_option("#language", label="日本語" if locale == "ja-JP" else "Japanese")
    page.set_input_files("#images", [picture("pink", 1), picture("pink", 2)])
    page.click("button.main")
    page.wait_for_url("**/ui/product?*saved=1")
    assert page.inner_text("h1") == name
    assert page.locator(".photographs img").count() == 2
    assert first_by_photograph(site, png("pink", 3)) == name
    page.click(".actions a.button")
    assert page.input_value("#aliases") == "new kettle\n新製品"
    assert page.input_value("#explanations") == "A pink body,\nglazed.\n\nA black handle."
    assert page.input_value("#language") == "ja"
    page.set_input_files("#images", [picture("cyan", 1)])
    page.uncheck("#keep")
    page.click("button.main")
    page.wait_for_url("**/ui/product?*saved=1")
    assert page.locator(".photographs img").count() == 1
    assert first_by_photograph(site, png("cyan", 3)) == name
    visitor.goto("/ui/products")
    assert names(visitor)[0] == name
    page.click(".rows h3 a")
    remove(visitor)
    assert name not in names(visitor)
    assert first_by_photograph(site, png("cyan", 3)) != name
    require_quiet(visitor)


def test_a_name_that_is_taken_is_not_replaced_by_accident(visit: Visit) -> None:
    visitor = visit()
    visitor.goto("/ui/products/edit")
    visitor.page.fill("#entity", "kx-purple")
    visitor.page.fill("#explanations", "Another one.")
    visitor.page.click("button.main")
    assert "already a product with this name" in visitor.page.inner_text("[role=alert]")
    assert visitor.page.input_value("#explanations") == "Another one."


def test_an_unusable_photograph_leaves_the_form_as_it_was(visit: Visit) -> None:
    visitor = visit()
    visitor.goto("/ui/products/edit")
    visitor.page.fill("#entity", "ZZ-broken")
    visitor.page.set_input_files("#images", {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
    visitor.page.click("button.main")
    assert "the picture cannot be used" in visitor.page.inner_text("[role=alert]")
    assert visitor.page.input_value("#entity") == "ZZ-broken"


def test_hostile_texts_of_a_product_do_nothing(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    visitor.goto("/ui/products/edit")
    page.fill("#entity", f"ZZ {HOSTILE[:280]}")
    for field in ("#aliases", "#tags", "#category"):
        page.fill(field, HOSTILE[:300])
    page.fill("#explanations", HOSTILE)
    page.click("button.main")
    page.wait_for_url("**/ui/product?*saved=1")
    require_harmless(visitor)
    page.click(".actions a.button")
    require_harmless(visitor)
    visitor.goto("/ui/products")
    require_harmless(visitor)
    page.click(".rows h3 a")
    remove(visitor)
    require_quiet(visitor)


def test_without_the_right_nothing_can_be_changed(site: Site) -> None:
    reader = keys.make(site.state.keys, name="reader")
    time.sleep(keys.LOOK_SECONDS + 0.2)
    with httpx.Client(base_url=site.url, timeout=30) as browser:
        browser.post("/ui/sign-in", data={"key": reader})
        page = browser.get("/ui/products")
        assert "needs a key with the scope" in page.text
        token = re.search(r'name="token" value="([^"]+)"', page.text)[1]
        for path in ("put", "remove"):
            refused = browser.post(f"/ui/products/{path}", data={"token": token, "entity": "ZZ-1", "entity_id": "x"})
            assert refused.status_code == 403
        assert browser.get("/ui/products/edit").status_code == 403


def test_changes_need_the_token_of_the_session(site: Site) -> None:
    with httpx.Client(base_url=site.url, timeout=30) as browser:
        browser.post("/ui/sign-in", data={"key": site.key})
        for path in ("put", "remove"):
            assert browser.post(f"/ui/products/{path}", data={"entity": "ZZ-1", "entity_id": "x"}).status_code == 403


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_forms_pass_axe(visit: Visit, scheme: str) -> None:
    visitor = visit(color_scheme=scheme, viewport={"width": 390, "height": 800})
    for path in ("/ui/products", "/ui/products/edit", "/ui/products/edit?id=missing"):
        visitor.goto(path)
        found = Axe().run(visitor.page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == [], path
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390
