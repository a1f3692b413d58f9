"""Texts of pages in English and Japanese, from ``templates/NAME.LANGUAGE.yaml``."""

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


@functools.cache
def texts_of(name: str) -> dict[str, str]:
    """Key -> text, which is markup with named gaps, of a file such as ``value.ja``."""
    file = files("entityclip.reports") / "templates" / f"{name}.yaml"
    found: dict[str, str] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


def filled(text: str, language: Language, /, **gaps: Any) -> Markup:
    """One text with its gaps filled in; values that are not markup are escaped.

    In Japanese, a figure that ends in Latin letters is set off by a space.
    """
    found = Markup(text).format(**gaps)
    return found if language == "en" else Markup(_LATIN_BEFORE_JAPANESE.sub(r"\1 ", str(found)))
