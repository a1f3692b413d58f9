"""Texts of the value report in English and Japanese."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from entityclip.reports.words import Language, filled, texts_of


def say(language: Language, key: str, **gaps: Any) -> Markup:
    """One text with its gaps filled in; values that are not markup are escaped."""
    return filled(texts(language)[key], language, **gaps)


def texts(language: Language) -> dict[str, str]:
    """Key -> text, which is markup with named gaps."""
    return texts_of(f"value.{language}")


def formulas() -> dict[str, str]:
    """Formula of a figure -> the same in Japanese."""
    return texts_of("value.formulas.ja")
