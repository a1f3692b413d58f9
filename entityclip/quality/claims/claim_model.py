"""Verdicts on claims, by limits that are calibrated for each attribute on claims exchanged on purpose.

The evidence on a claim is the log odds of its value against the best alternative, by a conditional logit of how well
the pictures fit the text under each value: one scale, and a constant for each value, since texts with some values are
nearer to all pictures.

The claim of a sound text, exchanged for another value, is a minimal fault whose truth is known. Limits that are set on
one half of the entities are measured on the other: how many exchanged claims they find, and how many sound texts they
accuse. The limits in use are those of all entities.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from pydantic import Field

from entityclip.data import pairs
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import DataLayout
from entityclip.quality.claims.category import StatedElsewhere, stated_elsewhere
from entityclip.quality.claims.claim_table import COLUMNS, ClaimVerdict
from entityclip.quality.claims.exchange import (
    ExchangedClaim,
    ExchangePlan,
    StatedClaim,
    Values,
    exchange_claims,
    split_claims,
    stated_values,
)
from entityclip.quality.claims.limits import AttributeLimits, limits_of
from entityclip.quality.claims.mining import mined
from entityclip.quality.claims.vocabulary import Vocabulary
from entityclip.quality.fit_text_quality import some_texts
from entityclip.quality.model_scores import SPLITS, EntityPictures, embed_pictures, texts_as_read, without_names
from entityclip.schemas import Record

FALSE_ALARMS = 0.02
"""Largest share of sound texts that the contradicted claims of all attributes together may accuse."""
FEWEST_CLAIMS, FEWEST_ENTITIES = 60, 40
"""Claims of an attribute, and entities with pictures outside of training, that limits are set on."""
MOST_TEXTS = 20_000
"""Texts with an exchanged claim that are embedded to set limits."""
_SEED = 0


class ClaimModel(Record):
    """Result of ``fit_claim_model``; stored as JSON."""

    judge: str = Field(description="Fingerprint of the model that compares texts with pictures.")
    words: str = Field(description="Hash of the list of words that the data extended, or of the workspace's own.")
    most_texts: int = Field(description="Texts with an exchanged claim that were embedded, at most.")
    vocabulary: Vocabulary
    attributes: tuple[AttributeLimits, ...]
    varied: tuple[tuple[str, str], ...] = Field(
        description="Language and attribute of which sound texts often state what is unusual in their category."
    )

    def values(self) -> Values:
        """What claims are exchanged for."""
        return {(limits.language, limits.attribute): limits.values for limits in self.attributes}

    def judged(
        self, claims: list[ExchangedClaim], explanations: pd.DataFrame, elsewhere: StatedElsewhere
    ) -> pd.DataFrame:
        """``COLUMNS`` of the claims of these texts."""
        limits = {(one.language, one.attribute): one for one in self.attributes}
        ids = [explanations[name].tolist() if name in explanations else None for name in COLUMNS[1:3]]
        rows = []
        for one in claims:
            known, position = limits.get(one.stated.key), one.stated.position
            resolvable = known and not one.reason and one.stated.claim.value in known.values
            evidence, best = known.logit.evidence(one) if known and resolvable else (np.nan, "")
            rows.append(
                (
                    position,
                    *(None if column is None else column[position] for column in ids),
                    *one.stated.key,
                    one.stated.claim.value,
                    *_verdict(one, known, evidence, best),
                    evidence,
                    best,
                    known.contradicted_below if known else np.nan,
                    known.supported_above if known else np.nan,
                )
            )
        usual = np.array([one.stated.key in self.varied for one in claims], dtype=bool)
        table = pd.DataFrame(rows, columns=COLUMNS[:-3])
        return table.assign(stated_by=elsewhere.by, others=elsewhere.of, unusual=elsewhere.unusual & ~usual)


def _verdict(
    claim: ExchangedClaim, limits: AttributeLimits | None, evidence: float, best: str
) -> tuple[ClaimVerdict, str]:
    if limits is None:
        return "not checkable", "the data have too few claims of this attribute to set a limit"
    if why := claim.reason or limits.unresolved:
        return "not checkable", why
    if claim.stated.claim.value not in limits.values:
        return "not checkable", "the data state this value too rarely to set a limit for it"
    if evidence < limits.contradicted_below:
        return "contradicted", f"the pictures fit {best!r} better"
    if evidence > limits.supported_above:
        return "supported", ""
    return "not checkable", "the pictures fit it about as well as the best alternative"


# ---------------------------------------------------------------- fitting
def fit_claim_model(
    model: LoadedModel,
    data: DataLayout,
    *,
    vocabulary: Vocabulary,
    words: str = "",
    mine: bool = True,
    most_texts: int = MOST_TEXTS,
) -> ClaimModel:
    """Set the limits of every attribute for ``model``.

    The pictures are those that the model was not trained on, where enough entities have some.

    Args:
        model: The champion.
        data: A version that passed the gate, so that most of its claims are true.
        vocabulary: The words that state a value.
        words: Hash of the list of words, stored with the model.
        mine: Whether the data add words.
        most_texts: So many texts with an exchanged claim are embedded at most.
    """
    entities, texts = pairs.read_frame(data.entities), some_texts(pairs.read_frame(data.explanations))
    if mine:
        vocabulary = mined(vocabulary, texts, entities, texts_as_read(model, texts, entities))
    pictures = _pictures(model, data, set(texts["entity_id"]))
    plan = ExchangePlan(vocabulary, most_texts)
    return fit_limits(model, texts, entities, pictures, plan).model_copy(update={"words": words})


def fit_limits(
    model: LoadedModel,
    texts: pd.DataFrame,
    entities: pd.DataFrame,
    pictures: EntityPictures,
    plan: ExchangePlan,
) -> ClaimModel:
    """The same from tables, with the vocabulary as it is.

    Args:
        model: See ``fit_claim_model``.
        texts: N rows with entity_id, text, language; most of their claims are true.
        entities: The entity table.
        pictures: Of these entities.
        plan: Which claims are exchanged.
    """
    claims = exchange_claims(model, texts, entities, pictures, plan)
    draw = np.random.default_rng(_SEED)
    half = draw.integers(0, 2, size=len(entities))[pd.factorize(texts["entity_id"])[0]]
    offered = stated_values([claim.stated for claim in claims])
    by_key: dict[tuple[str, str], list[ExchangedClaim]] = {}
    for claim in claims:  # a value that is no alternative to others would win whatever the pictures show
        if not claim.reason and claim.stated.claim.value in offered[claim.stated.key]:
            by_key.setdefault(claim.stated.key, []).append(claim)
    enough = {key: some for key, some in sorted(by_key.items()) if len(some) >= FEWEST_CLAIMS}
    languages = [language for language, _ in enough]
    limits = [
        limits_of(key, some, half, false_alarms=FALSE_ALARMS / languages.count(key[0]), draw=draw)
        for key, some in enough.items()
    ]
    return ClaimModel(
        judge=model.card.fingerprint,
        words="",
        most_texts=plan.most_texts,
        vocabulary=plan.vocabulary,
        attributes=tuple(limits),
        varied=_varied([claim.stated for claim in claims], texts, entities),
    )


def _varied(claims: list[StatedClaim], texts: pd.DataFrame, entities: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """The attributes of which more than ``FALSE_ALARMS`` of the claims are unusual in their category."""
    unusual = stated_elsewhere(claims, texts, _categories(entities)).unusual
    keys = pd.MultiIndex.from_tuples([stated.key for stated in claims], names=["language", "attribute"])
    shares = pd.Series(unusual, index=keys, dtype=float).groupby(level=[0, 1]).mean()
    return tuple((str(language), str(attribute)) for language, attribute in shares.index[shares > FALSE_ALARMS])


def _categories(entities: pd.DataFrame) -> dict[str, str]:
    known = entities.drop_duplicates("entity_id").set_index("entity_id")
    return {str(key): str(value) for key, value in known["category"].fillna("").items()}


def _pictures(model: LoadedModel, data: DataLayout, wanted: set[str]) -> EntityPictures:
    unseen = embed_pictures(model, data, wanted, splits=("val",))
    return unseen if len(set(unseen.owners)) >= FEWEST_ENTITIES else embed_pictures(model, data, wanted, splits=SPLITS)


# ---------------------------------------------------------------- use
def check_claims(
    judge: LoadedModel,
    claim_model: ClaimModel,
    explanations: pd.DataFrame,
    entities: pd.DataFrame,
    pictures: EntityPictures,
    *,
    most_texts: int,
    rows: np.ndarray | None = None,
) -> pd.DataFrame:
    """``COLUMNS``: one row per claim of these texts, with its verdict.

    Args:
        judge: The model that ``claim_model`` was fitted for.
        claim_model: The limits.
        explanations: N rows with explanation_id, entity_id, text, language.
        entities: The entity table.
        pictures: Of these entities, as ``judge`` sees them.
        most_texts: So many texts with an exchanged claim are embedded at most.
        rows: (N,) bool: texts whose claims are checked; the others only show what is usual. None: all.
    """
    plan = ExchangePlan(claim_model.vocabulary, most_texts, claim_model.values(), rows)
    claims = exchange_claims(judge, explanations, entities, pictures, plan)
    elsewhere = stated_elsewhere([claim.stated for claim in claims], explanations, _categories(entities))
    table = claim_model.judged(claims, explanations, elsewhere)
    return table if rows is None else table[rows[table["position"].to_numpy()]].reset_index(drop=True)


def unchecked_claims(
    explanations: pd.DataFrame, entities: pd.DataFrame, vocabulary: Vocabulary, *, why: str
) -> pd.DataFrame:
    """``COLUMNS``: the claims of these texts where no model can check them, each not checkable.

    Args:
        explanations: N rows with explanation_id, entity_id, text, language.
        entities: The entity table.
        vocabulary: The words that state a value.
        why: The reason.
    """
    languages = explanations["language"].fillna("").tolist()
    claims = split_claims(without_names(explanations, entities), languages, vocabulary)
    exchanged = [ExchangedClaim(claim, (claim.claim.value,), np.zeros(0), why) for claim in claims]
    varied = _varied(claims, explanations, entities) if claims else ()
    none = ClaimModel(judge="", words="", most_texts=0, vocabulary=vocabulary, attributes=(), varied=varied)
    table = none.judged(exchanged, explanations, stated_elsewhere(claims, explanations, _categories(entities)))
    return table.assign(reason=why)
