"""Words of an attribute that no list has, found in the texts themselves.

Two texts of a category that differ in one word between the same neighbours contrast it: "a red kettle",
"a teal kettle".
A word that mostly stands between neighbours of known values of an attribute, and contrasts with one of them in its own
category, is a value of that attribute.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import pandas as pd

from entityclip.quality.claims.split import ClaimSplitter
from entityclip.quality.claims.vocabulary import Vocabulary
from entityclip.quality.language import primary_language

FEWEST_ENTITIES, FEWEST_FRAMES = 3, 2
"""Entities whose texts have the word, and different pairs of neighbours that it stands between."""
LEAST_SHARE = 0.6
"""Of a word's places, those between neighbours of known values."""
LEAST_VARIETY = 0.25
"""Of the pairs of neighbours that a known value has, in the median over the attribute's values."""
_FEWEST_EACH = 3
"""Values that pairs of neighbours must have had between them; neighbours of a single value say nothing."""
_TOKEN = re.compile(r"<\w+>|[a-z]+(?:-[a-z]+)*|\d+|[ァ-ヺー]+|[一-鿿々]+|[ぁ-ゖ]+|[^\s]", re.IGNORECASE)
_WORD = re.compile(r"[a-z][a-z-]+|[ァ-ヺー]{2,}|[一-鿿々]+", re.IGNORECASE)

Frame = tuple[str, str]


class WordPlace(NamedTuple):
    """A word of a text between its neighbours."""

    entity_id: str
    category: str
    frame: Frame
    word: str
    attribute: str
    """Empty of a word that the vocabulary does not have."""


def mined(
    vocabulary: Vocabulary, explanations: pd.DataFrame, entities: pd.DataFrame, texts: Sequence[str]
) -> Vocabulary:
    """``vocabulary`` with the values that these texts add to its attributes.

    Args:
        vocabulary: The known words.
        explanations: N rows with entity_id and language.
        entities: The entity table: entity_id, category.
        texts: (N,) the texts, names masked.
    """
    words = {language: dict(attributes) for language, attributes in vocabulary.words.items()}
    spoken = [primary_language(tag) for tag in explanations["language"].fillna("")]
    category = entities.drop_duplicates("entity_id").set_index("entity_id")["category"].fillna("").to_dict()
    owners = explanations["entity_id"].tolist()
    for language in words:
        splitter = ClaimSplitter(vocabulary)
        places = [
            place
            for owner, text, of in zip(owners, texts, spoken, strict=True)
            if of == language
            for place in _places(splitter, text, language, owner=owner, category=category.get(owner, ""))
        ]
        for attribute, found in _new_words(places).items():
            words[language][attribute] = (*words[language][attribute], *((word,) for word in found))
    return Vocabulary(words=words)


def _places(splitter: ClaimSplitter, text: str, language: str, *, owner: str, category: str) -> list[WordPlace]:
    """Every word with its neighbours; known values are their attributes there."""
    parts, known, at = [], [], 0
    for start, end, word in splitter.found(text, language):
        parts.append(f"{_without_marks(text[at:start])} <{word.attribute}> ")
        known.append(word.value)
        at = end
    tokens = ["", *_TOKEN.findall("".join([*parts, _without_marks(text[at:])]).lower()), ""]
    values = iter(known)
    places = []
    for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        attribute = token[1:-1] if token.startswith("<") and len(token) > 1 else ""
        if attribute or _WORD.fullmatch(token):
            places.append(WordPlace(owner, category, (before, after), next(values) if attribute else token, attribute))
    return places


def _without_marks(text: str) -> str:
    """The same without what would look like the name of an attribute."""
    return text.replace("<", " ")


def _new_words(places: list[WordPlace]) -> dict[str, list[str]]:
    """Attribute -> the words that the places add to it."""
    of_frame, variety = _known_frames(places)
    contrasted = {(place.category, place.frame, place.attribute) for place in places if place.attribute}
    unknown: dict[str, list[WordPlace]] = defaultdict(list)
    for place in places:
        if not place.attribute:
            unknown[place.word].append(place)
    new: dict[str, list[str]] = defaultdict(list)
    for word, found in unknown.items():
        counts = Counter(of_frame[place.frame] for place in found if place.frame in of_frame)
        if not counts:
            continue
        attribute, count = counts.most_common(1)[0]
        inside = [place for place in found if of_frame.get(place.frame) == attribute]
        if (
            count >= LEAST_SHARE * len(found)
            and len({place.entity_id for place in inside}) >= FEWEST_ENTITIES
            and len({place.frame for place in inside}) >= max(FEWEST_FRAMES, LEAST_VARIETY * variety[attribute])
            and any((place.category, place.frame, attribute) in contrasted for place in inside)
        ):
            new[attribute].append(word)
    return new


def _known_frames(places: list[WordPlace]) -> tuple[dict[Frame, str], dict[str, float]]:
    """The attribute of each pair of neighbours, and how many such pairs a value of an attribute has in the median."""
    between: dict[tuple[str, Frame], set[str]] = defaultdict(set)
    frames: dict[tuple[str, str], set[Frame]] = defaultdict(set)
    for place in places:
        if place.attribute:
            between[place.attribute, place.frame].add(place.word)
            frames[place.attribute, place.word].add(place.frame)
    by_values = sorted(between.items(), key=lambda item: len(item[1]))  # of two attributes the one with more values
    of_frame = {frame: attribute for (attribute, frame), values in by_values if len(values) >= _FEWEST_EACH}
    counts: dict[str, list[int]] = defaultdict(list)
    for (attribute, _), some in frames.items():
        counts[attribute].append(len(some))
    return of_frame, {attribute: median(some) for attribute, some in counts.items()}
