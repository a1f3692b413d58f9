"""Domain rules for the content, wording and length of texts. The prompt states them, and every text is checked
against them."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, model_validator

from entityclip.data.pairs import normalised
from entityclip.schemas import Record


class DomainRules(Record):
    """Requirements of domain experts for every text."""

    language: str = Field(
        default="", description="ISO 639-1 code of the language of all texts; empty: each in its entity's own."
    )
    tone: str = Field(default="", description="Tone of the texts, in a few words.")
    glossary: dict[str, str] = Field(default={}, description="Words to avoid -> their replacement.")
    forbidden: tuple[str, ...] = Field(default=(), description="Claims and words that no text may contain.")
    required: dict[str, tuple[str, ...]] = Field(
        default={},
        description="Attributes that every text must name -> words that name them; an empty list is not checked.",
    )
    min_chars: int = Field(default=20, ge=1, description="Minimum number of characters of a text.")
    max_chars: int = Field(default=600, ge=1, le=10_000, description="Maximum number of characters of a text.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.min_chars > self.max_chars:
            raise ValueError(
                f"min_chars is {self.min_chars}, max_chars {self.max_chars}; expected min_chars <= max_chars"
            )
        words = [*self.glossary, *self.forbidden, *self.required, *sum(self.required.values(), ())]
        if not all(map(normalised, words)):
            raise ValueError("glossary, forbidden and required may not contain an empty word")
        return self


def broken_rules(text: str, rules: DomainRules) -> dict[str, str]:
    """Map each rule that ``text`` breaks to the offending words; empty if it breaks none.

    Rules are named ``max_chars``, ``min_chars``, ``forbidden``, ``glossary`` and ``required``. Case and width do not
    matter; a word in Latin letters counts only as a whole word.
    """
    plain = normalised(text)
    broken: dict[str, str] = {}
    if len(text.strip()) > rules.max_chars:
        broken["max_chars"] = f"{len(text.strip())} characters, at most {rules.max_chars}"
    if len(text.strip()) < rules.min_chars:
        broken["min_chars"] = f"{len(text.strip())} characters, at least {rules.min_chars}"
    if claims := [claim for claim in rules.forbidden if _contains(plain, claim)]:
        broken["forbidden"] = ", ".join(claims)
    if used := [f"{word} (write {better})" for word, better in rules.glossary.items() if _uses(plain, word, better)]:
        broken["glossary"] = ", ".join(used)
    if missing := [
        name for name, words in rules.required.items() if words and not any(_contains(plain, word) for word in words)
    ]:
        broken["required"] = ", ".join(missing)
    return broken


def _uses(plain: str, word: str, better: str) -> bool:
    """Whether the text contains ``word`` outside of ``better``, which may contain it ("bottle", "PET bottle")."""
    return _contains(_pattern(better).sub(" ", plain) if normalised(better) else plain, word)


def _contains(plain: str, words: str) -> bool:
    return _pattern(words).search(plain) is not None


def _pattern(words: str) -> re.Pattern[str]:
    """Match ``words`` anywhere; next to a Latin letter or digit, only at a word boundary."""
    wanted = normalised(words)
    before = r"(?<![a-z0-9])" if re.match(r"[a-z0-9]", wanted) else ""
    after = r"(?![a-z0-9])" if re.search(r"[a-z0-9]$", wanted) else ""
    return re.compile(before + re.escape(wanted) + after)
