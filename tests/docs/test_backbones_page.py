"""The pages about backbones show the table as the code has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from entityclip.model.pretrained import BACKBONES, Backbone

DOCS = Path(__file__).parents[2] / "docs"


def row(backbone: Backbone) -> str:
    languages = ", ".join("many" if language == "mul" else language for language in backbone.languages) or "–"
    licence = "; ".join(filter(None, (backbone.licence, backbone.terms)))
    size = f"{backbone.parameters:g} M, {backbone.megabytes:,.0f} MB | {backbone.size or '–'}"
    source = f"package `{backbone.package}`" if backbone.package else f"`{backbone.repository}`"
    return (
        f"| `{backbone.name}` | {backbone.kind} | {licence} | {languages} | {size} | {source} | {backbone.good_for} |"
    )


def rows(page: str) -> list[str]:
    known = tuple(f"| `{name}` |" for name in BACKBONES)
    return [line for line in (DOCS / page).read_text(encoding="utf-8").splitlines() if line.startswith(known)]


def test_the_table_is_the_one_of_the_code() -> None:
    assert rows("backbones.md") == [row(backbone) for backbone in BACKBONES.values()]


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=lambda b: b.name)
def test_the_japanese_table_has_the_same_facts(backbone: Backbone) -> None:
    (line,) = [line for line in rows("backbones.ja.md") if line.startswith(f"| `{backbone.name}` |")]
    source = backbone.package or backbone.repository
    for fact in (backbone.licence, f"{backbone.parameters:g} M", f"| {backbone.size or '–'} |", f"`{source}`"):
        assert fact in line
