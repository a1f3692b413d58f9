"""Texts of the value report in English and Japanese, from ``templates/value.LANGUAGE.yaml``."""

from __future__ import annotations

import functools
from importlib.resources import files
from typing import Any, Literal

import yaml
from markupsafe import Markup

Language = Literal["en", "ja"]


def say(language: Language, key: str, **gaps: Any) -> Markup:
    """One text with its gaps filled in; values that are not markup are escaped."""
    return Markup(texts(language)[key]).format(**gaps)


@functools.cache
def texts(language: Language) -> dict[str, str]:
    """Key -> text, which is markup with named gaps."""
    file = files("entityclip.reports") / "templates" / f"value.{language}.yaml"
    found: dict[str, str] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found
