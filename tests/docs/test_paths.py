"""Every file and folder that a document names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")})
FOLDERS = "entityclip|flows|bentos|expectations|benchmarks|tests|deploy|docs|examples"
CITED = re.compile(rf"(?<![\w/.-])((?:{FOLDERS}|\.ci|\.github)/[\w./-]*[\w/])")
"""Paths of this repository, in text, code or links."""
MADE = ("expectations/gx/attributes.yaml", "expectations/gx/uncommitted", "deploy/.env")
"""Made by a run, or by a person who follows the page."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_in_a_document_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = {path for path in CITED.findall(text) if not path.startswith(MADE)}
    assert {path for path in paths if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    generated = {"cli.md", "http.md", "settings.md"}  # by docs/build.py
    missing = {link for link in links if not (page.parent / link).exists() and Path(link).name not in generated}
    assert missing == set()
