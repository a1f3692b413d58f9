"""Find entity names and codes in texts, for any number of entities in one pass over each text."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from entityclip.quality.tokens import WORD, TokenizedTexts

LONGEST_NAME = 6
"""Words in the longest name that is searched for. Longer ones are captions, which texts do not repeat verbatim."""

_BEGINNING = 6
_CJK = re.compile(r"[぀-ヿ㐀-鿿]")
_KATAKANA = re.compile(r"[ァ-ヺー]")
_PART = re.compile(r"[^\W_]+")
CODE = re.compile(r"(?<![A-Za-z0-9-])[A-Z]{1,4}-?[0-9]{2,5}[A-Z]?(?![A-Za-z0-9-])")
STANDARDS = re.compile(r"(?:AES|CR|DDR|DIN|EN|GB|GTX|GU|HDMI|IEC|IPX?|ISO|JIS|LED|LR|MP|PM|RJ|RTX|SR|UL|USB|UV)-?\d+")
LIKE_A_CODE = r"[A-Z]-?[0-9]{2}"
"""RE2 pattern that every text with a code matches."""
_DIGITS, _LETTER = re.compile(r"\d+"), re.compile(r"[A-Z]")


_SPACED = {code: " " for code in range(128) if not chr(code).isalnum()}


def words_of(text: str) -> list[str]:
    """The ``WORD``s of a casefolded text."""
    return text.translate(_SPACED).split() if text.isascii() else WORD.findall(text)


def glued(words: Iterable[str]) -> str:
    """Words without what stands between them: KX-204B, kx 204b and KX204B are one name."""
    return "".join(words)


class NameBook:
    """All names of all entities: ``entities`` has the columns entity_id, entity, aliases.

    - Latin names and codes of up to ``LONGEST_NAME`` words match whole words, whatever their case and hyphens.
    - A single word without a digit ("Orange") may also be a common word: it matches only as it is written, and only
      if it has a capital.
    - Names with Japanese characters match anywhere, since no space marks their end; a match that is part of a longer
      katakana word or code does not count. A code in such a name may be written with or without its hyphen and the
      space before it.
    """

    def __init__(self, entities: pd.DataFrame) -> None:
        self._bearer: dict[str, str] = {}
        self._more_bearers: dict[str, set[str]] = defaultdict(set)
        self._name: dict[str, str] = {}
        self._own: dict[str, list[str]] = defaultdict(list)
        self._shapes: set[str] = set()
        self._codes: set[str] = set()
        self._japanese: dict[str, set[int]] = defaultdict(set)
        self._most_words = 1
        self._beginnings: set[str] = set()
        self._as_written: set[str] = set()
        columns = (entities[column].tolist() for column in ("entity_id", "entity", "aliases"))
        for entity_id, entity, aliases in zip(*columns, strict=True):
            self._name[entity_id] = entity
            for name in (entity, *(aliases if aliases is not None else ())):
                self._add(unicodedata.normalize("NFKC", name or ""), entity_id)
        self._sorted = sorted(self._bearer)

    def _add(self, name: str, entity_id: str) -> None:
        words = _PART.findall(name)
        key = glued(words)
        self._own[entity_id].append(name.casefold())
        for code in CODE.findall(name) if len(words) <= LONGEST_NAME or _CJK.search(key) else ():
            self._codes.add(_key(code))
            self._shapes.add(_shape(code))
        if _CJK.search(key):
            for spelt in _spellings(name, words) if len(key) > 1 else ():
                self._bear(spelt, entity_id)
                self._japanese[spelt[:2]].add(len(spelt))
        elif key.isalpha() and len(words) == 1:
            if key != key.lower():
                self._bear(key, entity_id)
                self._as_written.add(key.casefold())
        elif 0 < len(words) <= LONGEST_NAME:
            self._bear(key.casefold(), entity_id)
            self._beginnings.update(key.casefold()[:n] for n in range(1, _BEGINNING + 1))
            self._most_words = max(self._most_words, 2, len(words))

    def _bear(self, key: str, entity_id: str) -> None:
        # Nearly every name belongs to one entity: a set for each of them would dominate the memory use.
        if self._bearer.setdefault(key, entity_id) != entity_id:
            self._more_bearers[key].add(entity_id)

    def _bears(self, key: str, entity_id: str) -> bool:
        return self._bearer[key] == entity_id or entity_id in self._more_bearers.get(key, ())

    # ------------------------------------------------------------ who is named
    def may_name(self, texts: TokenizedTexts) -> np.ndarray:
        """(N,) bool: whether a text may hold a Latin name."""
        single = texts.counts(lambda word: word in self._bearer or word in self._as_written).astype(bool)
        if self._most_words == 1:
            return single
        return single | texts.neighbours(self._may_begin, lambda one, next_one: self._begins(one + next_one))

    def _may_begin(self, word: str) -> bool:
        return word[:_BEGINNING] in self._beginnings

    def _begins(self, run: str) -> bool:
        """Whether a name begins like this."""
        place = bisect_left(self._sorted, run)
        return self._sorted[place : place + 1] != [] and self._sorted[place].startswith(run)

    def named(self, text: str, words: Sequence[str]) -> set[str]:
        """The names in ``text`` (NFKC; ``words`` are its casefolded ``WORD``s), as this book spells them."""
        found = self._bearer.keys() & {*words, *(WORD.findall(text) if self._as_written else ())}
        # Few words begin a name, so that few runs of words have to be joined and looked up.
        for start in [i for i, word in enumerate(words) if word[:_BEGINNING] in self._beginnings]:
            if self._begins(glued(words[start : start + 2])):
                runs = (glued(words[start : start + n]) for n in range(2, self._most_words + 1))
                found.update(run for run in runs if run in self._bearer)
        if self._japanese and not text.isascii():
            # Runs of Japanese characters are no words: "ソラ" must not be found in "ソラマメ".
            found = {name for name in found if not _CJK.search(name)}
            found.update(self._japanese_names(text.casefold()))
        return found

    def _japanese_names(self, text: str) -> Iterator[str]:
        for start in range(len(text) - 1):
            for length in self._japanese.get(text[start : start + 2], ()):
                end = start + length  # beyond the end, the slice would be a shorter name
                if end <= len(text) and text[start:end] in self._bearer and not _cut(text, start, end):
                    yield text[start:end]

    def own(self, entity_id: str, found: set[str]) -> bool:
        """Whether one of the entity's names is among those ``found``."""
        return any(self._bears(key, entity_id) for key in found)

    def other(self, entity_id: str, found: set[str]) -> str | None:
        """The entity that bears the longest name ``found`` which is neither this one's nor a part of its names."""
        own = [glued(_PART.findall(name)) for name in self._own.get(entity_id, ())]
        for name in sorted(found, key=lambda name: (-len(name), name)):
            part = glued(_PART.findall(name)).casefold()
            if not self._bears(name, entity_id) and not any(part in key for key in own):
                return self._name[self._bearer[name]]
        return None

    # ------------------------------------------------------------ unknown codes
    @property
    def has_codes(self) -> bool:
        """Whether a name holds a code."""
        return bool(self._shapes)

    def words_of(self, entity_id: str) -> set[str]:
        """The words of the entity's names; none for an unknown entity."""
        return {word for name in self._own.get(entity_id, ()) for word in words_of(name)}

    def unknown_code(self, text: str, *, caption: str) -> str | None:
        """The first code in ``text`` that has the form of this catalogue's model numbers and belongs to no entity.

        Same form: letters and digits at the same places, with any number of digits. Where no name holds a code, there
        is no form to compare with, and the result is None. Codes of the caption and names
        of standards (IP44, USB30) count as known.
        """
        for code in CODE.findall(text) if self._shapes else ():
            if _shape(code) not in self._shapes or STANDARDS.fullmatch(code):
                continue
            known = _key(code) in self._bearer or _key(code) in self._codes
            if not known and code not in caption:
                return code
        return None


def _spellings(name: str, words: Sequence[str]) -> set[str]:
    """How people write a name with Japanese characters, casefolded: 遮断器 KX-204B, 遮断器KX-204B, 遮断器・KX204B."""
    written = " ".join(name.split())
    joined = {between.join(words) for between in ("", " ", "・")}
    as_written = {written, written.replace(" ", ""), written.replace("-", "")}
    return {spelt.casefold() for spelt in joined | as_written}


def _key(code: str) -> str:
    """KX-204B -> kx204b, as names are looked up."""
    return glued(_PART.findall(code)).casefold()


def _shape(code: str) -> str:
    """KX-204B -> AA9A."""
    return _DIGITS.sub("9", _LETTER.sub("A", code.replace("-", "")))


def _cut(text: str, start: int, end: int) -> bool:
    """Whether ``text[start:end]`` is only a piece of a longer katakana word or code."""
    return _goes_on(text[start - 1 : start], text[start]) or _goes_on(text[end - 1], text[end : end + 1])


def _goes_on(left: str, right: str) -> bool:
    if not left or not right:
        return False
    both = left + right
    return (both.isascii() and both.isalnum()) or len(_KATAKANA.findall(both)) == 2
