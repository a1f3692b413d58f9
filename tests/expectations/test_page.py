"""The page of what every rule found: everything on it is text, and it needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from browser import HOSTILE, require_harmless, visit
from small_batch import Batch


def page_of(batch: Batch) -> Path:
    report = batch.gate()
    assert report.validation_page is not None
    return Path(report.validation_page)


def test_the_page_shows_every_rule_with_limit_and_examples_of_what_broke_it(batch: Batch) -> None:
    batch.texts[5]["text"] += " Write to sales@shop.example."
    batch.texts[6]["text"] += " <b>New!</b>"
    html = page_of(batch).read_text(encoding="utf-8")
    assert "The batch passed" in html
    assert "sales@shop.example" in html
    assert "&lt;b&gt;" in html  # a warning has examples too
    assert "min_value 4" in html
    assert batch.texts[5]["explanation_id"] in html
    assert str(batch.suite("pairs")) in html


def test_a_refused_batch_is_the_headline_of_the_page(batch: Batch) -> None:
    for text in batch.texts[:5]:
        text["text"] = "As an AI language model I cannot describe this product."
    html = page_of(batch).read_text(encoding="utf-8")
    assert "The batch was refused" in html
    assert "5 of 40 explanations break critical rules" in html


def test_no_data_docs_are_written_even_where_a_workspace_has_an_older_context(batch: Batch) -> None:
    checkpoint = batch.suite("explanations").parent.parent / "checkpoints" / "explanations.json"
    action = '"actions": [{"name": "data_docs", "site_names": [], "type": "update_data_docs"}]'
    checkpoint.write_text(checkpoint.read_text().replace('"actions": []', action))
    page = page_of(batch)
    assert [path.name for path in page.parent.rglob("*.html")] == ["validation.html"]


@pytest.mark.slow
def test_user_text_on_the_page_runs_nothing_and_loads_nothing(
    batch: Batch, program: Callable[..., Path], tmp_path: Path
) -> None:
    chromium = program("chromium", package="chromium")
    for picture, text in zip(batch.pictures[:6], batch.texts[:6], strict=True):
        picture["licence"] = "all rights reserved " + HOSTILE
        picture["caption"] = HOSTILE
        text["caption"] = HOSTILE
        text["text"] += HOSTILE
    require_harmless(visit(chromium, page_of(batch), profile=tmp_path / "profile"))
