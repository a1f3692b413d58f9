"""Exchange each claim for what the text might say instead, and compare every such text with the entity's pictures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from entityclip.model.checkpoint import LoadedModel
from entityclip.quality.claims.split import Claim, ClaimSplitter, exchanged
from entityclip.quality.claims.vocabulary import Vocabulary
from entityclip.quality.image_text_scores import entity_centres
from entityclip.quality.language import primary_language
from entityclip.quality.model_scores import EntityPictures, texts_as_read, without_names
from entityclip.retrieval.index.embedding import embedded_texts, finite

MOST_VALUES = 10
"""Values of an attribute that claims are exchanged for, the most frequent ones; they keep the cost linear."""
NO_PICTURE = "the entity has no picture, or is the only one of its category with pictures"
NO_ALTERNATIVE = "the data state no other value"
NOT_CHOSEN = "the text was not chosen"
OVER_LIMIT = "beyond gate.max_exchanged_texts"
_SEED = 5

Values = Mapping[tuple[str, str], tuple[str, ...]]
"""Language and attribute -> the values that a claim may be exchanged for."""


class StatedClaim(NamedTuple):
    """A claim of one text of a table."""

    position: int
    language: str
    claim: Claim

    @property
    def key(self) -> tuple[str, str]:
        """Language and attribute."""
        return self.language, self.claim.attribute


class ExchangedClaim(NamedTuple):
    """A claim with its alternatives."""

    stated: StatedClaim
    values: tuple[str, ...]
    """Its own value, then the alternatives."""
    fit: np.ndarray
    """(V, F) how well the entity's pictures fit each value: how much better they fit the text under it than those of
    its category do, and the score of its probe. (0, F) where the claim was not exchanged."""
    reason: str
    """Why it was not exchanged; empty where it was."""


def split_claims(texts: list[str], languages: list[str], vocabulary: Vocabulary) -> list[StatedClaim]:
    """The claims of all texts, in order."""
    splitter = ClaimSplitter(vocabulary)
    spoken = map(primary_language, languages)
    return [
        StatedClaim(position, language, claim)
        for position, (text, language) in enumerate(zip(texts, spoken, strict=True))
        for claim in splitter.claims(text, language)
    ]


def stated_values(claims: list[StatedClaim]) -> Values:
    """The values that these claims state, the most frequent ones of each attribute."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for stated in claims:
        counts[stated.key][stated.claim.value] += 1
    return {key: tuple(value for value, _ in count.most_common(MOST_VALUES)) for key, count in counts.items()}


class ExchangePlan(NamedTuple):
    """Which claims are exchanged, and for what."""

    vocabulary: Vocabulary
    """The words that state a value."""
    most_texts: int
    """So many texts are embedded at most; claims beyond are not exchanged."""
    values: Values | None = None
    """What claims are exchanged for; None: what the texts state."""
    rows: np.ndarray | None = None
    """(N,) bool: texts whose claims are exchanged; None: all."""


def exchange_claims(
    model: LoadedModel | None,
    explanations: pd.DataFrame,
    entities: pd.DataFrame,
    pictures: EntityPictures,
    plan: ExchangePlan,
) -> list[ExchangedClaim]:
    """Split texts into claims and compare each with its alternatives.

    Args:
        model: What compares texts with pictures; None: the alternatives are found, and have no fit yet.
        explanations: N rows with entity_id, text, language.
        entities: The entity table: entity_id, entity, aliases, category.
        pictures: Those of the entities, as ``model`` sees them.
        plan: Which claims are exchanged, and for what.
    """
    vocabulary = plan.vocabulary
    texts = without_names(explanations, entities) if model is None else texts_as_read(model, explanations, entities)
    claims = split_claims(texts, explanations["language"].fillna("").tolist(), vocabulary)
    centres, owner = relative_centres(pictures, entities, explanations["entity_id"])
    shown = (owner >= 0) & (np.linalg.norm(centres, axis=1) > 0)[owner]
    chosen = np.ones(len(texts), dtype=bool) if plan.rows is None else plan.rows
    choices = _choices(claims, vocabulary, stated_values(claims) if plan.values is None else plan.values)
    reasons = [
        _why_not(chosen[stated.position], shown[stated.position], some)
        for stated, some in zip(claims, choices, strict=True)
    ]
    if model is None:
        every = zip(claims, choices, reasons, strict=True)
        return [ExchangedClaim(one, some, np.zeros((0 if why else len(some), 0)), why) for one, some, why in every]
    _limit(reasons, choices, plan.most_texts)
    variants = [
        [] if why else _variants(texts[stated.position], stated, some, vocabulary)
        for stated, some, why in zip(claims, choices, reasons, strict=True)
    ]
    place = {text: i for i, text in enumerate(dict.fromkeys(text for some in variants for text in some))}
    vectors = finite(embedded_texts(model, list(place), what="testing claims", progress=False), model)
    fits = (
        (vectors[[place[text] for text in some]] @ centres[owner[stated.position]])[:, None]
        for stated, some in zip(claims, variants, strict=True)
    )
    return [ExchangedClaim(*one) for one in zip(claims, choices, fits, reasons, strict=True)]


def relative_centres(
    pictures: EntityPictures, entities: pd.DataFrame, owners: pd.Series
) -> tuple[np.ndarray, np.ndarray]:
    """(E, D) the mean of each entity's pictures, less that of its category; and (N,) the row of each owner, or -1.

    Some texts are nearer to all pictures than others are; the mean of the category takes that away.
    """
    known = entities.drop_duplicates("entity_id")
    place = pd.Index(known["entity_id"])
    centres = entity_centres(pictures.vectors, place.get_indexer(pd.Index(pictures.owners)), count=len(place))
    shown = np.linalg.norm(centres, axis=1) > 0
    category = pd.factorize(known["category"].fillna(""))[0]
    for group in np.unique(category[shown]):
        rows = shown & (category == group)
        centres[rows] -= centres[rows].mean(axis=0)
    return centres, place.get_indexer(pd.Index(owners))


def _choices(claims: list[StatedClaim], vocabulary: Vocabulary, values: Values) -> list[tuple[str, ...]]:
    """Of each claim its value, then those that it may be exchanged for: none that the text states too, and none that
    is only more or less specific, as 縞 and 縦縞."""
    together: dict[tuple[int, str], set[str]] = defaultdict(set)
    for stated in claims:
        together[stated.position, stated.claim.attribute].add(stated.claim.value)
    return [
        (
            own := stated.claim.value,
            *(
                value
                for value in values.get(stated.key, ())
                if value not in together[stated.position, stated.claim.attribute]
                and value in vocabulary.spellings(*stated.key)
                and not (own in value or value in own)
            ),
        )
        for stated in claims
    ]


def _why_not(chosen: bool, shown: bool, values: tuple[str, ...]) -> str:
    """Why a claim is not exchanged; empty where it is."""
    if not chosen:
        return NOT_CHOSEN
    if not shown:
        return NO_PICTURE
    return "" if len(values) > 1 else NO_ALTERNATIVE


def _limit(reasons: list[str], choices: list[tuple[str, ...]], most_texts: int) -> None:
    """Note in ``reasons`` which claims are beyond the limit; which ones, is drawn."""
    left = most_texts
    for place in np.random.default_rng(_SEED).permutation(len(reasons)):
        if not reasons[place]:
            left -= len(choices[place])
            reasons[place] = "" if left >= 0 else OVER_LIMIT


def _variants(text: str, stated: StatedClaim, values: tuple[str, ...], vocabulary: Vocabulary) -> list[str]:
    """The text itself, then with each alternative."""
    spellings = vocabulary.spellings(*stated.key)
    return [text, *(exchanged(text, stated.claim, spellings[value]) for value in values[1:])]
