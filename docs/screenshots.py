"""Takes the pictures of the service's pages for the documentation, in both languages, light and dark.

    python docs/screenshots.py http://127.0.0.1:3000 --key ec_... --words apple --words リンゴ --photograph photo.jpg

The service needs a state folder and a key with the scopes query, feedback and entities. Chromium is Debian's.
"""

from __future__ import annotations

import io
import itertools
import shutil
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

TARGET = Path(__file__).parent / "pictures" / "pages"
LOCALES = {"en": "en-US", "ja": "ja-JP"}
MOST_BYTES = 150_000


def main(
    url: Annotated[str, typer.Argument(help="Address of the running service.")],
    key: Annotated[str, typer.Option(help="API key.")],
    words: Annotated[list[str], typer.Option(help="Words to search for, in English, then in Japanese.")],
    photograph: Annotated[Path, typer.Option(help="Photograph to search with.")],
) -> None:
    """Write one picture for each page, language and scheme to docs/pictures/pages/."""
    TARGET.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for (language, typed), scheme in itertools.product(zip(LOCALES, words, strict=True), ("light", "dark")):
            take(browser, url, key, words=typed, photograph=photograph, language=language, scheme=scheme)
        browser.close()


def take(browser: Browser, url: str, key: str, *, words: str, photograph: Path, language: str, scheme: str) -> None:
    """All pages in one language and scheme."""
    size = {"width": 1180, "height": 860}
    context = browser.new_context(locale=LOCALES[language], color_scheme=scheme, viewport=size, bypass_csp=True)  # type: ignore[arg-type]
    page, name = context.new_page(), f"{language}-{scheme}"
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
    context.close()


def save(page: Page, name: str) -> None:
    """What is visible of the page, as WebP of at most ``MOST_BYTES``."""
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)
    page.wait_for_load_state("networkidle")
    page.wait_for_function("[...document.images].every(one => one.complete || one.getBoundingClientRect().top > 860)")
    image = Image.open(io.BytesIO(page.screenshot()))
    image.save(path := TARGET / f"{name}.webp", quality=82, method=6)
    assert path.stat().st_size <= MOST_BYTES, f"{path}: {path.stat().st_size} bytes, at most {MOST_BYTES}"


if __name__ == "__main__":
    typer.run(main)
