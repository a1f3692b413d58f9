"""Texts into claims: each value of an attribute that a text states, by the words of a vocabulary."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from entityclip.quality.claims.vocabulary import Vocabulary, Wording

_KANJI = "[一-鿿々]"
_SCRIPTS = ("a-z0-9", "ァ-ヺー")
"""Scripts whose words do not run into each other. Kanji form compounds, and hiragana mark no end of a word."""
_ARTICLE = re.compile(r"\b([Aa])n?( )$")


class Claim(NamedTuple):
    """A value that a text states, wherever it states it."""

    attribute: str
    value: str
    spans: tuple[tuple[int, int], ...]
    """Start and end of each place in the text."""


class ClaimSplitter:
    """Finds the claims of texts.

    Args:
        vocabulary: Which words state what.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._read = lru_cache(maxsize=None)(self._reader)

    def _reader(self, language: str) -> tuple[re.Pattern[str], dict[str, Wording]]:
        words = {word.spelling.casefold(): word for word in self._vocabulary.wordings(language)}
        longest = sorted(words, key=len, reverse=True)
        return re.compile("|".join(map(_alone, longest)) or "(?!)", re.IGNORECASE), words

    def found(self, text: str, language: str) -> list[tuple[int, int, Wording]]:
        """Start, end and meaning of each spelling in ``text``, in order; of spellings that overlap the longest."""
        pattern, words = self._read(language)
        return [(match.start(), match.end(), words[match[0].casefold()]) for match in pattern.finditer(text)]

    def claims(self, text: str, language: str) -> list[Claim]:
        """The claims of ``text``, in the order in which they are first stated."""
        places: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for start, end, word in self.found(text, language):
            places.setdefault((word.attribute, word.value), []).append((start, end))
        return [Claim(attribute, value, tuple(spans)) for (attribute, value), spans in places.items()]


def _alone(spelling: str) -> str:
    """Pattern of a spelling that is no part of another word, as 白 of 面白い, ベル of ラベル, or red of coloured."""
    sides = {script: f"[{script}]" for script in _SCRIPTS}
    first = next((one for script, one in sides.items() if re.match(one, spelling, re.IGNORECASE)), "")
    last = next((one for script, one in sides.items() if re.match(one, spelling[-1], re.IGNORECASE)), "")
    if re.match(f"{_KANJI}(?!{_KANJI})", spelling):
        first, last = _KANJI, _KANJI if len(spelling) == 1 else last
    return f"{first and f'(?<!{first})'}{re.escape(spelling)}{last and f'(?!{last})'}"


def exchanged(text: str, claim: Claim, spellings: tuple[str, ...]) -> str:
    """``text`` with another value wherever it states ``claim``; an English article follows the new word."""
    parts, place = [], 0
    for start, end in claim.spans:
        word, before = _like(text[start:end], spellings), text[place:start]
        vowel = "n" if word[0].lower() in "aeiou" else ""
        parts += [_ARTICLE.sub(rf"\g<1>{vowel}\2", before), word]
        place = end
    return "".join([*parts, text[place:]])


def _like(word: str, spellings: tuple[str, ...]) -> str:
    """The spelling that ends as ``word`` does, or else the first; a Japanese adjective becomes a noun with の."""
    same = next((spelling for spelling in spellings if spelling[-1] == word[-1]), None)
    return same or (f"{spellings[0]}の" if word.endswith("い") else spellings[0])
