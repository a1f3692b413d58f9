"""Domain rules: what texts about this workspace's things must say, must not say, and how. They steer the prompt,
and every text is held against them."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, model_validator

from entityclip.data.pairs import normalised
from entityclip.schemas import Record


class DomainRules(Record):
    """What the people who know the domain ask of a text."""

    language: str = Field(
        default="", description="ISO 639-1 code of the language of all texts; empty: each in its entity's own."
    )
    tone: str = Field(default="", description="How texts should sound, in a few words.")
    glossary: dict[str, str] = Field(
        default={}, description="Words that texts should not use -> what to write instead."
    )
    forbidden: tuple[str, ...] = Field(default=(), description="Claims and words that no text may contain.")
    required: dict[str, tuple[str, ...]] = Field(
        default={},
        description="Attributes that every text names -> the words that count as naming them; none: not checked.",
    )
    shortest: int = Field(default=20, ge=1, description="Fewest characters of a text.")
    longest: int = Field(default=600, ge=1, le=10_000, description="Most characters of a text.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.shortest > self.longest:
            raise ValueError(f"shortest is {self.shortest}, longest {self.longest}; no text can be both")
        words = [*self.glossary, *self.forbidden, *self.required, *sum(self.required.values(), ())]
        if not all(map(normalised, words)):
            raise ValueError("glossary, forbidden and required may not contain an empty word")
        return self


def broken_rules(text: str, rules: DomainRules) -> dict[str, str]:
    """The rules that ``text`` breaks -> what is wrong, in the very words; empty where it breaks none.

    Rules are named ``longest``, ``shortest``, ``forbidden``, ``glossary`` and ``required``. Case and width do not
    matter; a word in Latin letters counts only as a whole word.
    """
    plain = normalised(text)
    broken: dict[str, str] = {}
    if len(text.strip()) > rules.longest:
        broken["longest"] = f"{len(text.strip())} characters, at most {rules.longest}"
    if len(text.strip()) < rules.shortest:
        broken["shortest"] = f"{len(text.strip())} characters, at least {rules.shortest}"
    if said := [claim for claim in rules.forbidden if _says(plain, claim)]:
        broken["forbidden"] = ", ".join(said)
    if used := [f"{word} (write {better})" for word, better in rules.glossary.items() if _uses(plain, word, better)]:
        broken["glossary"] = ", ".join(used)
    if unsaid := [
        name for name, words in rules.required.items() if words and not any(_says(plain, word) for word in words)
    ]:
        broken["required"] = ", ".join(unsaid)
    return broken


def _uses(plain: str, word: str, better: str) -> bool:
    """Whether ``word`` stands in the text outside of ``better``, which may contain it ("bottle", "PET bottle")."""
    return _says(_pattern(better).sub(" ", plain) if normalised(better) else plain, word)


def _says(plain: str, words: str) -> bool:
    return _pattern(words).search(plain) is not None


def _pattern(words: str) -> re.Pattern[str]:
    """``words`` wherever they stand; at an edge of Latin letters or digits, no further one may follow."""
    wanted = normalised(words)
    before = r"(?<![a-z0-9])" if re.match(r"[a-z0-9]", wanted) else ""
    after = r"(?![a-z0-9])" if re.search(r"[a-z0-9]$", wanted) else ""
    return re.compile(before + re.escape(wanted) + after)
