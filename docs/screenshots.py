"""Takes the pictures of the pages for the documentation, in both languages, light and dark.

    python docs/screenshots.py service http://127.0.0.1:3000 --key ec_... --words apple --words リンゴ \\
        --photograph photo.jpg
    python docs/screenshots.py review http://127.0.0.1:3100 --key ec_...
    python docs/screenshots.py value http://127.0.0.1:3100 --key ec_...

The service needs a state folder and a key with the scopes query, feedback and entities; the review pages need a
workspace with quarantined texts and a key with the scopes query, review and release; the value pages need value reports
in both languages and the same key. Chromium is Debian's.
"""

from __future__ import annotations

import io
import itertools
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).parent / "pictures"
LOCALES = {"en": "en-US", "ja": "ja-JP"}
MOST_BYTES = 180_000


app = typer.Typer()


@app.command("service")
def service(
    url: Annotated[str, typer.Argument(help="Address of the running service.")],
    key: Annotated[str, typer.Option(help="API key.")],
    words: Annotated[list[str], typer.Option(help="Words to search for, in English, then in Japanese.")],
    photograph: Annotated[Path, typer.Option(help="Photograph to search with.")],
    only: Annotated[str, typer.Option(help="One language alone, en or ja, with its words.")] = "",
) -> None:
    """Write one picture for each page of the service, language and scheme to docs/pictures/pages/."""
    typed = dict(zip([only] if only else LOCALES, words, strict=True))
    for page, language, name in tabs(typed):
        take(page, url, key, words=typed[language], photograph=photograph, name=name)


@app.command("review")
def review(
    url: Annotated[str, typer.Argument(help="Address of the running review pages.")],
    key: Annotated[str, typer.Option(help="API key.")],
) -> None:
    """Write one picture for each review page, language and scheme to docs/pictures/review/. Decides nothing."""
    for page, _, name in tabs(LOCALES):
        take_review(page, url, key, name=name)


@app.command("value")
def value(
    url: Annotated[str, typer.Argument(help="Address of the running review pages.")],
    key: Annotated[str, typer.Option(help="API key.")],
    assumed: Annotated[str, typer.Option(help="Assumptions that are tried.")] = "workload.pictures_per_month=1500",
) -> None:
    """Write the value report and other assumptions to docs/pictures/value/, one picture for each language."""
    for page, language, name in tabs(LOCALES):
        if name.endswith("light"):
            sign_in(page, url, key)
            page.goto(f"{url}/ui/releases/value?{assumed}")
            save(page, f"assumptions-{language}", folder="value", part="main")
            page.set_viewport_size({"width": 906, "height": 860})
            page.goto(f"{url}/ui/releases/report")
            save(page, f"value-{language}", folder="value", part="article.manager")


def tabs(languages: Iterable[str]) -> Iterator[tuple[Page, str, str]]:
    """A new tab in each language and scheme, with the language and a name for its pictures."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for language, scheme in itertools.product(languages, ("light", "dark")):
            context = browser.new_context(
                locale=LOCALES[language],
                color_scheme=scheme,  # type: ignore[arg-type]
                viewport={"width": 1180, "height": 860},
                bypass_csp=True,
            )
            yield context.new_page(), language, f"{language}-{scheme}"
            context.close()
        browser.close()


def take(page: Page, url: str, key: str, *, words: str, photograph: Path, name: str) -> None:
    """All pages of the service in one language and scheme."""
    page.goto(f"{url}/ui/")
    save(page, f"sign-in-{name}")
    page.fill("#key", key)
    page.press("#key", "Enter")
    page.wait_for_selector("#search")
    save(page, f"start-{name}")
    page.fill("#words", words)
    page.press("#words", "Enter")
    page.wait_for_selector("#found")
    save(page, f"words-{name}")
    page.fill("#words", "")
    page.set_input_files("#picture", photograph)
    page.wait_for_selector("meter")
    save(page, f"photograph-{name}")
    page.click(".card h3 a")
    page.wait_for_selector("#photographs")
    save(page, f"product-{name}")
    page.goto(f"{url}/ui/products")
    save(page, f"products-{name}")
    page.goto(f"{url}/ui/products/edit")
    save(page, f"edit-{name}")
    page.goto(f"{url}/ui/")
    page.set_viewport_size({"width": 390, "height": 844})
    page.set_input_files("#picture", photograph)
    page.wait_for_selector("meter")
    save(page, f"phone-{name}")


def take_review(page: Page, url: str, key: str, *, name: str) -> None:
    """All review pages in one language and scheme; while a release waits for an answer, this question alone."""
    sign_in(page, url, key)
    page.goto(f"{url}/ui/releases")
    if page.is_visible("[name=answer]"):
        save(page, f"question-{name}", folder="review")
        return
    save(page, f"releases-{name}", folder="review")
    page.goto(f"{url}/ui/review")
    while not page.is_visible("[data-key=b]"):
        with page.expect_response("**/ui/review?done=skip-1"):
            page.keyboard.press("s")
        page.goto(f"{url}/ui/review")
    save(page, f"item-{name}", folder="review")
    page.keyboard.press("b")
    page.wait_for_selector(".cases")
    save(page, f"similar-{name}", folder="review")
    page.goto(f"{url}/ui/review/decided")
    save(page, f"decided-{name}", folder="review")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{url}/ui/review")
    save(page, f"phone-{name}", folder="review")


def sign_in(page: Page, url: str, key: str) -> None:
    """Open the pages with a key."""
    page.goto(f"{url}/ui/")
    page.fill("#key", key)
    with page.expect_navigation():
        page.press("#key", "Enter")


def save(page: Page, name: str, *, folder: str = "pages", part: str = "") -> None:
    """What is visible of the page, or ``part`` of it as a whole, as WebP of at most ``MOST_BYTES``."""
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)
    page.wait_for_load_state("networkidle")
    page.wait_for_function("[...document.images].every(one => one.complete || one.getBoundingClientRect().top > 860)")
    image = Image.open(io.BytesIO(page.locator(part).screenshot() if part else page.screenshot()))
    (PICTURES / folder).mkdir(parents=True, exist_ok=True)
    image.save(path := PICTURES / folder / f"{name}.webp", quality=70 if part else 82, method=6)
    assert path.stat().st_size <= MOST_BYTES, f"{path}: {path.stat().st_size} bytes, at most {MOST_BYTES}"


if __name__ == "__main__":
    app()
