"""The language of a page: as the visitor chose it, else as the browser prefers."""

from __future__ import annotations

from typing import Literal, get_args

from starlette.requests import Request

Language = Literal["en", "ja"]

LANGUAGES: dict[Language, str] = {"en": "English", "ja": "日本語"}
"""Code -> name in the language itself."""

COOKIE = "entityclip_language"


def chosen(request: Request) -> Language | None:
    """The language that the address names with ``?lang=``."""
    return _known(request.query_params.get("lang", ""))


def language_of(request: Request) -> Language:
    """Language of the response: of the address, of the cookie, of ``Accept-Language``, else English."""
    known = chosen(request) or _known(request.cookies.get(COOKIE, ""))
    return known or preferred(request.headers.get("accept-language", ""))


def preferred(header: str) -> Language:
    """The language of ``Accept-Language`` with the highest weight that the pages have."""
    weights: dict[Language, float] = {}
    for part in header.split(","):
        tag, _, parameters = part.partition(";")
        if (language := _known(tag.strip().lower().partition("-")[0])) is not None:
            weights[language] = max(weights.get(language, 0.0), _weight(parameters))
    return max(weights, key=lambda language: weights[language]) if any(weights.values()) else "en"


def _known(code: str) -> Language | None:
    return next((language for language in get_args(Language) if language == code), None)


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0
