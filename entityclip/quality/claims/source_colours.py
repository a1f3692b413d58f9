"""What has a colour: a pocket or stripes, by the words beside it; and colours that the texts of the source contradict.

Pictures do not resolve this: a text that gives the colour of the body to the pocket names a colour that they show.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import pandas as pd

from entityclip.quality.claims.split import ClaimSplitter
from entityclip.quality.claims.vocabulary import Vocabulary
from entityclip.quality.language import primary_language

COLOUR, OWNERS = "colour", ("part", "pattern")
"""The attribute, and the attributes of what may have a colour of its own."""
_STATES = "is|are|was|were|in|painted|finished|coloured|colored|printed|made|all|both|also|bright|dark|light|pale|deep"
_BEFORE = {
    "en": re.compile(
        r"[ -](?:(?:is the colou?r of (?:the|its|both|all)|bright|round|thin|wide|small|large|bold) )?", re.I
    ),
    "ja": re.compile("(?:色)?の?(?:丸い|細い|太い|小さな|大きな)?"),
}
"""Language -> what may stand between a colour and what has it."""
_AFTER = {"en": re.compile(f"(?: (?:{_STATES}))+ ", re.I), "ja": re.compile("(?:の色)?(?:は|が)、?")}
"""Language -> what may stand between what has a colour and the colour."""


class OwnedColour(NamedTuple):
    """A colour and what has it."""

    owner: tuple[str, str]
    """Attribute and value, as part and pocket."""
    colour: str


class SourceColours(NamedTuple):
    """What the source says of a part or pattern whose colour a text gets wrong."""

    owner: str
    """The part or pattern, as pocket."""
    colours: tuple[str, ...]
    """Its colours by the source, sorted."""

    @property
    def reason(self) -> str:
        """Why the colour of the text is contradicted."""
        return f"the source says that the colour of the {self.owner} is {' or '.join(self.colours)}"


class ColourReader:
    """Finds which part or pattern has which colour; a colour of anything else, or of what is unclear, is not found.

    Args:
        vocabulary: Which words state a colour, a part or a pattern.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._splitter = ClaimSplitter(vocabulary)

    def found(self, text: str, language: str) -> set[OwnedColour]:
        """The colours of ``text``; none in a language other than English and Japanese."""
        return {one for one, _ in self.places(text, language)}

    def places(self, text: str, language: str) -> list[tuple[OwnedColour, tuple[int, int]]]:
        """The colours of ``text`` in their order, each with start and end of its word."""
        return [(one, span) for _, one, span in self._found(text, language) if one is not None]

    def owners(self, text: str, language: str) -> dict[str, list[str]]:
        """Colour -> the parts and patterns that have it, in the order of ``text``; '' for anything else."""
        owners: dict[str, list[str]] = defaultdict(list)
        for colour, one, _ in self._found(text, language):
            owner = "" if one is None else one.owner[1]
            if owner not in owners[colour]:
                owners[colour].append(owner)
        return dict(owners)

    def _found(self, text: str, language: str) -> Iterator[tuple[str, OwnedColour | None, tuple[int, int]]]:
        """Each colour of ``text``, with what has it where that is clear, and its place."""
        language = primary_language(language)
        if language not in _BEFORE:
            return
        words = [word for word in self._splitter.found(text, language) if word[2].attribute in (COLOUR, *OWNERS)]
        owned: dict[int, set[OwnedColour]] = defaultdict(set)
        for (start, end, word), (following, _, other) in pairwise(words):
            gap = text[end:following]
            if word.attribute == COLOUR and other.attribute in OWNERS and _BEFORE[language].fullmatch(gap):
                owned[start].add(OwnedColour((other.attribute, other.value), word.value))
            if word.attribute in OWNERS and other.attribute == COLOUR and _AFTER[language].fullmatch(gap):
                owned[following].add(OwnedColour((word.attribute, word.value), other.value))
        for start, end, word in words:
            if word.attribute == COLOUR:
                yield word.value, next(iter(owned[start])) if len(owned[start]) == 1 else None, (start, end)


def checked_by_source(
    claims: pd.DataFrame, explanations: pd.DataFrame, source_provided: pd.DataFrame, vocabulary: Vocabulary
) -> pd.DataFrame:
    """``claims`` with the verdict contradicted for each colour that the texts of the source contradict.

    Args:
        claims: Table with ``claim_table.COLUMNS``.
        explanations: The texts, in the order that ``claims`` counts; see ``source_contradictions`` for the others.
        source_provided: Texts of the source.
        vocabulary: Which words state what.
    """
    found = source_contradictions(explanations, source_provided, vocabulary)
    keys = zip(claims["position"], claims["value"], strict=True)
    known = [found.get((int(at), str(value))) for at, value in keys]
    why = pd.Series([one.reason if one else "" for one in known], index=claims.index, dtype="str")
    wrong = (why != "") & (claims["attribute"] == COLOUR)
    return claims.assign(
        verdict=claims["verdict"].mask(wrong, "contradicted"), reason=claims["reason"].mask(wrong, why)
    )


def source_contradictions(
    explanations: pd.DataFrame, source_provided: pd.DataFrame, vocabulary: Vocabulary
) -> dict[tuple[int, str], SourceColours]:
    """Position of a text and colour -> what the source says instead.

    A colour is contradicted where the texts of the source give other colours to the same part or pattern of the entity,
    in the same language, and never this one. A text that the source provides is not contradicted.

    Args:
        explanations: N rows with entity_id, text, language.
        source_provided: Texts of the source: entity_id, text, language.
        vocabulary: Which words state what.
    """
    return {
        (position, wrong.stated.colour): SourceColours(wrong.stated.owner[1], wrong.colours)
        for position, found in wrong_colours(explanations, source_provided, vocabulary)
        for wrong in sorted(found)
    }


class WrongColour(NamedTuple):
    """A colour in a text that the source contradicts."""

    stated: OwnedColour
    colours: tuple[str, ...]
    """What the source says, sorted."""
    span: tuple[int, int]
    """Start and end of the word in the text."""


def wrong_colours(
    explanations: pd.DataFrame, source_provided: pd.DataFrame, vocabulary: Vocabulary
) -> Iterator[tuple[int, list[WrongColour]]]:
    """Position of each text with contradicted colours, and these in their order; see ``source_contradictions``."""
    reader = ColourReader(vocabulary)
    of_source = {str(owner): rows for owner, rows in source_provided.groupby("entity_id")}
    for position, row in enumerate(explanations[["entity_id", "text", "language"]].itertuples(index=False)):
        rows, language = of_source.get(str(row.entity_id)), str(row.language or "")
        if rows is None or (rows["text"] == row.text).any():
            continue
        if places := reader.places(str(row.text or ""), language):
            by_source = _stated(reader, rows, language)
            found = [(owned, tuple(sorted(by_source.get(owned.owner, ()))), span) for owned, span in places]
            if wrong := [WrongColour(*one) for one in found if one[1] and one[0].colour not in one[1]]:
                yield position, wrong


def _stated(reader: ColourReader, rows: pd.DataFrame, language: str) -> Mapping[tuple[str, str], set[str]]:
    """Owner -> its colours, by the texts of the source in this language."""
    stated: dict[tuple[str, str], set[str]] = defaultdict(set)
    for text, spoken in zip(rows["text"].fillna(""), rows["language"].fillna("en"), strict=True):
        if primary_language(str(spoken)) == primary_language(language):
            for owned in reader.found(str(text), language):
                stated[owned.owner].add(owned.colour)
    return stated
