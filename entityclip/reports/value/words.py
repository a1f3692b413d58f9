"""Texts of the value report in English and Japanese, from ``templates/value.LANGUAGE.yaml``."""

from __future__ import annotations

import functools
import re
from importlib.resources import files
from typing import Any, Literal

import yaml
from markupsafe import Markup

Language = Literal["en", "ja"]
_LATIN_BEFORE_JAPANESE = re.compile(r"([A-Za-z](?:</\w+>)+)(?=[ぁ-んァ-ヶ一-鿿])")
"""The end of a figure in Latin letters, like a currency, directly before a Japanese word."""


def say(language: Language, key: str, **gaps: Any) -> Markup:
    """One text with its gaps filled in; values that are not markup are escaped.

    In Japanese, a figure that ends in Latin letters is set off by a space.
    """
    text = Markup(texts(language)[key]).format(**gaps)
    return text if language == "en" else Markup(_LATIN_BEFORE_JAPANESE.sub(r"\1 ", str(text)))


@functools.cache
def texts(language: Language) -> dict[str, str]:
    """Key -> text, which is markup with named gaps."""
    return _read(f"value.{language}.yaml")


@functools.cache
def formulas() -> dict[str, str]:
    """Formula of a figure -> the same in Japanese."""
    return _read("value.formulas.ja.yaml")


def _read(name: str) -> dict[str, str]:
    file = files("entityclip.reports") / "templates" / name
    found: dict[str, str] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found
