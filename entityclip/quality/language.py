"""Detect the language of a text: by its script, and for Latin script by its stop words. A text that is too short is
``unknown``."""

from __future__ import annotations

import re

import numpy as np

from entityclip.quality.tokens import TokenizedTexts

UNKNOWN = "unknown"
_STOP_WORD_LISTS = {
    "en": "the and is are of with for this that it its from which has have be been by on was were they you can their "
    "look there when where while also but not or an as at to your will",
    "de": "der die das und ist sind ein eine einen einem einer mit für auf von dem den des nicht auch sich im am zum "
    "zur wird werden oder aus bei nach als durch hat haben über sie wie dieser diese dieses",
    "fr": "le la les des une est sont et avec pour dans sur par qui que ce cette ces du au aux il elle sa son ses "
    "mais ou pas plus très être aussi peut nous vous",
    "es": "el los las una unos es son y con para en por que del al se su sus este esta estos pero más como muy lo "
    "también puede tiene hay ser sobre",
    "it": "il lo gli una è sono e con per di del della dei delle che si questo questa nel nella al alla da dal ma "
    "anche come più molto può ha essere",
    "pt": "o os as um uma é são e com para em por que do da dos das no na nos nas se seu sua este esta mas mais "
    "como também muito pode tem ser ao",
    "nl": "de het een en is zijn met voor van op dat die dit deze aan uit bij naar ook niet maar of wordt worden "
    "heeft hebben door over als",
    "sv": "och är en ett som med för på av den det till från inte men eller också har kan att om vid till denna "
    "detta dessa finns",
}
_STOP_WORDS = {language: frozenset(words.split()) for language, words in _STOP_WORD_LISTS.items()}

_SCRIPTS = {
    "ja": re.compile(r"[぀-ヿ]"),
    "ko": re.compile(r"[가-힯]"),
    "ru": re.compile(r"[Ѐ-ӿ]"),
    "ar": re.compile(r"[؀-ۿ]"),
    "he": re.compile(r"[֐-׿]"),
    "th": re.compile(r"[฀-๿]"),
    "el": re.compile(r"[Ͱ-Ͽ]"),
    "hi": re.compile(r"[ऀ-ॿ]"),
}
_HAN = re.compile(r"[㐀-鿿]")
_LATIN = re.compile(r"[A-Za-zÀ-ɏ]")
_LEAST_LETTERS, _LEAST_HAN, _LEAST_STOP_WORDS = 8, 12, 2

KNOWN = frozenset(_STOP_WORDS) | frozenset(_SCRIPTS) | {"zh"}
"""ISO 639-1 codes that can be detected."""


def script_of(text: str) -> str | None:
    """The language whose script most of ``text``'s letters are in; ``unknown`` where Chinese characters are
    ambiguous; None where the letters are Latin, or too few.

    A Japanese character counts as three Latin letters. Each script stands for one language (Cyrillic for ``ru``), so
    languages that share a script other than Latin are not distinguished.
    """
    counts = {language: len(script.findall(text)) for language, script in _SCRIPTS.items()}
    han = len(_HAN.findall(text))
    if counts["ja"]:
        counts["ja"] += han
    elif han >= _LEAST_HAN:
        counts["zh"] = han
    language, letters = max(counts.items(), key=lambda item: item[1])
    weight = 3 if language in ("ja", "zh", "ko") else 1
    if letters * weight < _LEAST_LETTERS or letters * weight < len(_LATIN.findall(text)):
        return UNKNOWN if han else None
    return language


def latin_languages(texts: TokenizedTexts) -> list[str]:
    """ISO 639-1 code of each of N texts in Latin script, by its stop words; or ``unknown``.

    Requires two stop words, and 1.5 times as many as of any other language.
    """
    hits = np.stack([texts.counts(words.__contains__) for words in _STOP_WORDS.values()])
    second, first = np.sort(hits, axis=0)[-2:]
    clear = (first >= _LEAST_STOP_WORDS) & (first >= 1.5 * second)
    languages = list(_STOP_WORDS)
    return [languages[best] if sure else UNKNOWN for best, sure in zip(hits.argmax(axis=0), clear, strict=True)]


def primary_language(tag: str) -> str:
    """``ja`` of a language tag such as ``ja-JP`` or ``JA``."""
    return tag.split("-")[0].lower()


def wrong_language(seen: str, *, declared: str | None) -> str | None:
    """``seen`` where it is not the ``declared`` language; None when it is, or is unknown.

    A declared language outside ``KNOWN`` is accepted. So is ``ja`` for a text without kana, such as
    "材質:天然木 原産国:日本".
    """
    expected = primary_language(declared or "")
    if expected not in KNOWN:
        return None
    return None if seen in (UNKNOWN, expected) or (expected, seen) == ("ja", "zh") else seen
