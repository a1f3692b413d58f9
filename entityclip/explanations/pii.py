"""Redacts personal data from a text before the text is sent."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from entityclip.errors import ConfigError
from entityclip.schemas import Label

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine

PIECE = 10_000
"""Characters in one search, so that the cost per character does not grow with the length of the text."""
OVERLAP = 200
"""Characters that neighbouring pieces share; no recognised pattern is longer."""

# Presidio takes seconds to import and almost a millisecond per text; most captions cannot contain a match.
_WORTH_A_LOOK = re.compile(r"@|[\[(] ?at ?[\])]|\d(?:[^\d\n]{0,3}\d){6}", re.IGNORECASE)
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−", "-"))
_LONG_VOWEL_AS_DASH = re.compile(r"(?<=\d)ー(?=\d)")


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text with its personal data replaced."""

    text: str
    counts: dict[str, int] = field(default_factory=dict)
    """Kind -> number of redactions: EMAIL, PHONE, POSTAL_CODE, MY_NUMBER, CARD, IBAN, PERSON."""


class Redactor:
    """Replaces e-mail addresses, phone numbers and the like by ``<EMAIL>``, ``<PHONE>`` ...

    Full-width characters, all kinds of dashes and invisible characters are normalised first. Rules find no names of
    persons: PERSON is found only in languages that have a spaCy pipeline.

    Args:
        names: ISO 639-1 code -> folder of a spaCy pipeline that marks persons.

    Raises:
        ConfigError: A folder is not a spaCy pipeline.
    """

    def __init__(self, *, names: Mapping[str, Path] | None = None) -> None:
        self._names = {language: _pipeline(folder) for language, folder in (names or {}).items()}
        self._engines: dict[str, AnalyzerEngine] = {}

    def redact(self, text: str, *, language: str) -> Redacted:
        """``text`` with each piece of personal data replaced by a mark.

        Raises:
            ConfigError: spaCy cannot load the pipeline of this language.
        """
        plain, origin = _plain(text)
        if language not in self._names and not _WORTH_A_LOOK.search(plain):
            return Redacted(text)
        found = _merged(self._found(plain, language=language))
        return _masked(text, [f._replace(start=origin[f.start], end=origin[f.end - 1] + 1) for f in found])

    def _found(self, plain: str, *, language: str) -> Iterator[_Found]:
        engine = self._engine(language)
        for at in range(0, max(1, len(plain) - OVERLAP), PIECE - OVERLAP):
            for result in engine.analyze(plain[at : at + PIECE], language=engine.supported_languages[0]):
                yield _Found(result.start + at, result.end + at, result.score, result.entity_type)

    def _engine(self, language: str) -> AnalyzerEngine:
        """Created on first use; languages without a pipeline share one engine."""
        from entityclip.explanations.pii_recognizers import analyzer

        key = language if language in self._names else ""
        if key not in self._engines:
            self._engines[key] = analyzer(names=self._names.get(language))
        return self._engines[key]


def redact(text: str, *, language: str) -> Redacted:
    """``text`` without the personal data that rules find; see ``Redactor``."""
    return _by_rules().redact(text, language=language)


def without_personal_data(labels: tuple[Label, ...]) -> tuple[Label, ...]:
    """The lines on a picture in which the rules find nothing; the others are left out as a whole."""
    return tuple(label for label in labels if not redact(label.text, language="").counts)


@cache
def _by_rules() -> Redactor:
    return Redactor()


def _pipeline(folder: Path) -> Path:
    """``folder``, if it is a spaCy pipeline. Presidio would try to download a missing one."""
    if not (folder / "meta.json").is_file():
        raise ConfigError(f"{folder}: no spaCy pipeline (no meta.json); expected a folder that spaCy's to_disk wrote")
    return folder


# ---------------------------------------------------------------- normalisation
def _plain(text: str) -> tuple[str, Sequence[int]]:
    """The normalised text, and for each of its characters the position in ``text``.

    Full-width letters and digits become half-width, dashes become hyphens, invisible characters are dropped.
    """
    if text.isascii() and text.isprintable():
        return text, range(len(text))
    pieces, origin = [], []
    for place, character in enumerate(text):
        folded = _folded(character)
        pieces.append(folded)
        origin += [place] * len(folded)
    return _LONG_VOWEL_AS_DASH.sub("-", "".join(pieces)), origin


@lru_cache(maxsize=8192)
def _folded(character: str) -> str:
    """The normalised character: zero, one or several characters (``㈱`` becomes three)."""
    if unicodedata.category(character) in {"Cc", "Cf"} and not character.isspace():
        return ""
    return unicodedata.normalize("NFKC", character).translate(_DASHES)


# ---------------------------------------------------------------- marks
class _Found(NamedTuple):
    start: int
    end: int
    score: float
    kind: str


def _merged(found: Iterator[_Found]) -> list[_Found]:
    """Merge overlapping matches into one of the kind with the highest score, so that no part of a number remains."""
    merged: list[_Found] = []
    for one in sorted(found):
        if merged and one.start < merged[-1].end:
            last = merged.pop()
            surer = max(last, one, key=lambda f: f.score)
            one = surer._replace(start=last.start, end=max(last.end, one.end))
        merged.append(one)
    return merged


def _masked(text: str, found: list[_Found]) -> Redacted:
    parts, end = [], 0
    for one in found:
        parts += [text[end : one.start], f"<{one.kind}>"]
        end = one.end
    return Redacted("".join([*parts, text[end:]]), dict(Counter(one.kind for one in found)))
