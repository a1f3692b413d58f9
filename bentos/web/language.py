"""The language of a page: as the visitor chose it, else as the browser prefers; and names of languages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, get_args

from starlette.requests import Request

from entityclip.monitoring.statistics import script_of

Language = Literal["en", "ja"]

LANGUAGES: dict[Language, str] = {"en": "English", "ja": "日本語"}
"""Code -> name in the language itself."""

COOKIE = "entityclip_language"

NAMES: Final[dict[str, dict[Language, str]]] = {
    "ar": {"en": "Arabic", "ja": "アラビア語"},
    "de": {"en": "German", "ja": "ドイツ語"},
    "el": {"en": "Greek", "ja": "ギリシャ語"},
    "en": {"en": "English", "ja": "英語"},
    "es": {"en": "Spanish", "ja": "スペイン語"},
    "fr": {"en": "French", "ja": "フランス語"},
    "he": {"en": "Hebrew", "ja": "ヘブライ語"},
    "hi": {"en": "Hindi", "ja": "ヒンディー語"},
    "it": {"en": "Italian", "ja": "イタリア語"},
    "ja": {"en": "Japanese", "ja": "日本語"},
    "ko": {"en": "Korean", "ja": "韓国語"},
    "nl": {"en": "Dutch", "ja": "オランダ語"},
    "pt": {"en": "Portuguese", "ja": "ポルトガル語"},
    "ru": {"en": "Russian", "ja": "ロシア語"},
    "sv": {"en": "Swedish", "ja": "スウェーデン語"},
    "th": {"en": "Thai", "ja": "タイ語"},
    "zh": {"en": "Chinese", "ja": "中国語"},
}
"""Language of texts -> its name in each language of the pages: those that the quality gate can detect."""

SCRIPTS: Final[dict[str, str]] = {
    "ar": "arabic",
    "el": "greek",
    "he": "hebrew",
    "hi": "devanagari",
    "ja": "japanese or chinese",
    "ko": "hangul",
    "ru": "cyrillic",
    "th": "thai",
    "zh": "japanese or chinese",
}
"""Language of ``NAMES`` -> its script as ``script_of`` names it, if not Latin."""


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


def language_name(code: str, language: Language) -> str:
    """Name of the language of a text, such as ``English (GB)`` for ``en-GB``; the code itself where there is none."""
    base, _, variant = code.partition("-")
    names = NAMES.get(base.lower())
    if names is None or not variant:
        return names[language] if names else code
    return f"{names[language]}（{variant}）" if language == "ja" else f"{names[language]} ({variant})"


def is_foreign_to(words: str, languages: Iterable[str]) -> bool:
    """Whether ``words`` are in a script that no text in ``languages`` uses, so that the texts hardly answer them.

    Names and codes are Latin in many languages: Latin words beside others do not count. False where the script of a
    language is not known.
    """
    codes = {code.lower().partition("-")[0] for code in languages}
    if not codes or not codes <= NAMES.keys():
        return False
    known = {SCRIPTS.get(code, "latin") for code in codes}
    used = {script_of(word) for word in words.split()} - {"none"}
    return bool(used - known - {"latin"}) or (used == {"latin"} and "latin" not in known)


def _known(code: str) -> Language | None:
    return next((language for language in get_args(Language) if language == code), None)


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0
