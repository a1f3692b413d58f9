"""How names, codes and texts are compared: what is the same, what is almost the same, what is part of what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, combinations, islice, pairwise

from entityclip.data.pairs import normalised

LONGEST = 40
"""Characters of a key up to which slips are looked for; a longer text is no code."""

SHORTEST = 4
"""Characters of a key from which on slips are looked for: among three, nearly everything is one slip apart."""

PIECE = 80
"""Characters of a text that are shown around the word that was found."""
WORD = 20
"""Characters of a word by which a shown piece may be shorter."""

_LOOKALIKES = str.maketrans("oil", "011")
_SEPARATORS = re.compile(r"[\W_ー]+")
_APART = re.compile(r"[\W_]+")
_DIGIT = re.compile(r"\d")
_LATIN = re.compile(r"[^\W\d_]+", re.ASCII)
_CODE = re.compile(r"[a-z0-9]+(?:[-‐‑‒–—−._/+#]+[a-z0-9]+)*")
_START = "·"
_PARTS = re.compile(r"[:：;；、，。|/()（）「」『』【】\[\]<>]+|\s{2,}")
_ALIKE = (
    "0o 1il 2z 5s 6g 8b ソン シツッ ャヤ ュユ ョヨ ァア ィイ ゥウ ェエ ォオ "
    "ー一 ロ口 カ力 ニ二 ハ八 タ夕 エ工 ト卜 チ千 へヘ べベ ぺペ りリ"
)
_MISTAKEN = {one: group for group in _ALIKE.split() for one in group}
"""Character -> those that a reader may mistake for one another, normalised."""
MOST_EXCHANGED, MOST_MISREAD = 3, 512
"""Misread characters of one text, and spellings that are tried for them, the ones with fewest first."""
_SCRIPTS = (
    (re.compile(r"[a-z0-9]"), "abcdefghijklmnopqrstuvwxyz0123456789"),
    (re.compile(r"[ぁ-ゖ]"), "".join(map(chr, range(ord("ぁ"), ord("ゖ") + 1)))),
    (re.compile(r"[ァ-ヺ]"), "".join(map(chr, range(ord("ァ"), ord("ヺ") + 1)))),
)


def key(name: str) -> str:
    """``name`` without what people confuse: case, width, hyphens, dots, 長音; in codes O is 0, I and L are 1."""
    bare = _SEPARATORS.sub("", normalised(name))
    return bare.translate(_LOOKALIKES) if _DIGIT.search(bare) else bare


def slips(wanted: str) -> Iterator[str]:
    """Every key that is one slip away: a character left out, put in, mistaken, or two neighbours swapped.

    Mistaken and added are characters of the scripts that occur in the key; kanji are only left out or swapped.
    """
    if not SHORTEST <= len(wanted) <= LONGEST:
        return
    alphabet = "".join(letters for script, letters in _SCRIPTS if script.search(wanted))
    for i in range(len(wanted) + 1):
        before, after = wanted[:i], wanted[i:]
        if after:
            yield before + after[1:]
        if len(after) > 1:
            yield before + after[1] + after[0] + after[2:]
        for letter in alphabet:
            yield before + letter + after
            if after:
                yield before + letter + after[1:]


def named_in(text: str) -> list[str]:
    """What in ``text`` may be a name: the whole of it, and every code that stands in it, normalised, the whole first.

    ``red KX-204B（新型）`` may be itself or ``kx-204b``. A code is a word of Latin letters and digits with a digit.
    """
    codes = (code for code in _CODE.findall(normalised(text)) if _DIGIT.search(code) and len(key(code)) >= 3)
    return list(dict.fromkeys(name for name in (normalised(text), *codes) if name))


def codes_in(text: str) -> list[str]:
    """The codes that stand in ``text``, normalised."""
    return [name for name in named_in(text) if _CODE.fullmatch(name) and _DIGIT.search(name)]


def printed_in(line: str) -> list[str]:
    """What in a printed line may be a name: the line, its parts between brackets and punctuation, and every code."""
    parts = (part for part in (line, *_PARTS.split(line)) if len(key(part)) > 1)
    return list(dict.fromkeys(name for part in parts for name in named_in(part)))


def misreadings(name: str) -> list[str]:
    """Keys of the names that a reader may have taken for ``name``, that of ``name`` first: 8 for B, 口 for ロ."""
    plain = normalised(name)
    places = [(i, other) for i, one in enumerate(plain) for other in _MISTAKEN.get(one, "") if other != one]
    exchanges = chain.from_iterable(combinations(places, count) for count in range(MOST_EXCHANGED + 1))
    keys = (key(_exchanged(plain, some)) for some in islice(exchanges, MOST_MISREAD))
    return list(dict.fromkeys(keys))


def _exchanged(plain: str, places: Iterable[tuple[int, str]]) -> str:
    characters = list(plain)
    for place, other in places:
        characters[place] = other
    return "".join(characters)


def shape(code: str) -> str:
    """The pattern of a code, ``aa999a`` for KX-204B; '' for what has no digit."""
    bare = _SEPARATORS.sub("", normalised(code))
    return "".join("9" if c.isdigit() else "a" for c in bare) if _DIGIT.search(bare) else ""


def words(text: str) -> list[str]:
    """The words of ``text``, normalised, letters and digits alone; Japanese without spaces is one word."""
    return [bare for word in normalised(text).split() if (bare := _APART.sub("", word))]


def query_words(text: str) -> list[str]:
    """The words that a question's answer has to hold; single Latin letters only where there is nothing else."""
    found = list(dict.fromkeys(words(text)))
    return [word for word in found if len(word) > 1 or not word.isascii()] or found


def grams(text: str) -> str:
    """``text`` as the full text holds it: Latin words whole, of other words overlapping pairs and the last character.

    ``blue ポンプ a1`` gives ``·blue ポン ンプ プ a1 1``.
    """
    return " ".join(gram for word in words(text) for gram in _grams(word))


def _grams(word: str) -> Iterable[str]:
    return (_START + word,) if _LATIN.fullmatch(word) else (*_pairs(word), word[-1])


def phrase(word: str) -> str:
    """The full-text expression that finds ``word``, as ``words`` gives it.

    A Latin word without a digit is found at the start of words, so that "red" is not found in "covered"; codes and
    Japanese, which has no spaces, anywhere.
    """
    if _LATIN.fullmatch(word):
        return f'"{_START}{word}"*'
    return f'"{" ".join(_pairs(word))}"' if len(word) > 1 else f'"{word}"*'


def _pairs(word: str) -> Iterator[str]:
    return map("".join, pairwise(word))


def piece(text: str, wanted: list[str]) -> str | None:
    """The piece of ``text`` around the first of the words ``wanted``, whole words where it has spaces; None unless
    ``text`` holds them all."""
    found = [_place(text, word) for word in wanted]
    if not found or None in found:
        return None
    middle = min(place for place in found if place is not None)
    start = max(0, middle - PIECE // 2)
    end = start + PIECE
    if start and (space := text.find(" ", start - 1, min(start + WORD, middle))) >= 0:
        start = space + 1
    if end < len(text) and (space := text.rfind(" ", max(end - WORD, middle + 1), end + 1)) >= 0:
        end = space
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")


def _place(text: str, word: str) -> int | None:
    """Where ``word`` begins in ``text``, whatever separates its characters there."""
    start = r"(?<![^\W_])" if _LATIN.fullmatch(word) else ""
    found = re.search(start + r"[\W_]*?".join(map(re.escape, word)), normalised(text))
    return None if found is None else found.start()
