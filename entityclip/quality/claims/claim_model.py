"""Verdicts on claims, by limits that are calibrated for each attribute on claims exchanged on purpose.

The evidence on a claim is the log odds of its value against the best alternative, by a conditional logit of how well
the pictures fit each value: by the text under it, and by a probe of the pictures alone. Each of the two has a scale,
and each value a constant, since texts with some values are nearer to all pictures.

The claim of a sound text, exchanged for another value, is a minimal fault whose truth is known. Limits that are set on
one half of the entities are measured on the other: how many exchanged claims they find, and how many sound texts they
accuse. The limits in use are those of all entities.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from entityclip.data import pairs
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import DataLayout
from entityclip.quality.claims.category import StatedElsewhere, stated_elsewhere
from entityclip.quality.claims.claim_table import COLUMNS
from entityclip.quality.claims.exchange import (
    ExchangedClaim,
    ExchangePlan,
    StatedClaim,
    Values,
    exchange_claims,
    split_claims,
    stated_values,
)
from entityclip.quality.claims.limits import AttributeLimits, limits_of, verdict_on
from entityclip.quality.claims.mining import mined
from entityclip.quality.claims.probes import (
    AttributeProbe,
    ProbeScores,
    cross_fitted_scores,
    fit_probes,
    scores_of,
    with_scores,
)
from entityclip.quality.claims.vocabulary import Vocabulary
from entityclip.quality.fit_text_quality import some_texts
from entityclip.quality.model_scores import EntityPictures, embed_pictures, texts_as_read, without_names
from entityclip.quality.tower_pictures import PretrainedTower
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
    tower: str = Field(default="", description="Of the pretrained tower whose vectors probes read; '': the judge's.")
    words: str = Field(description="Hash of the list of words that the data extended, or of the workspace's own.")
    most_texts: int = Field(description="Texts with an exchanged claim that were embedded, at most.")
    vocabulary: Vocabulary
    attributes: tuple[AttributeLimits, ...]
    probes: tuple[AttributeProbe, ...] = Field(default=(), description="What vectors of pictures say about values.")
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
        stated = Counter((one.stated.position, one.stated.key) for one in claims)
        ids = [explanations[name].tolist() if name in explanations else None for name in COLUMNS[1:3]]
        rows = []
        for one in claims:
            known, position = limits.get(one.stated.key), one.stated.position
            verdict = verdict_on(one, known, stated=stated[position, one.stated.key])
            rows.append(
                (
                    position,
                    *(None if column is None else column[position] for column in ids),
                    *one.stated.key,
                    one.stated.claim.value,
                    verdict.verdict,
                    verdict.reason,
                    verdict.evidence,
                    verdict.best,
                    known.contradicted_below if known else np.nan,
                    known.supported_above if known else np.nan,
                )
            )
        usual = np.array([one.stated.key in self.varied for one in claims], dtype=bool)
        table = pd.DataFrame(rows, columns=COLUMNS[:-3])
        return table.assign(stated_by=elsewhere.by, others=elsewhere.of, unusual=elsewhere.unusual & ~usual)


# ---------------------------------------------------------------- fitting
def fit_claim_model(
    model: LoadedModel,
    data: DataLayout,
    *,
    vocabulary: Vocabulary,
    words: str = "",
    mine: bool = True,
    most_texts: int = MOST_TEXTS,
    tower: PretrainedTower | None = None,
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
        tower: What sees the pictures for the probes; None: the model.
    """
    entities, texts = pairs.read_frame(data.entities), some_texts(pairs.read_frame(data.explanations))
    if mine:
        vocabulary = mined(vocabulary, texts, entities, texts_as_read(model, texts, entities))
    wanted, plan = set(texts["entity_id"]), ExchangePlan(vocabulary, most_texts)
    pictures = embed_pictures(model, data, wanted, splits=("val",))
    if len(set(pictures.owners)) < FEWEST_ENTITIES:
        pictures = embed_pictures(model, data, wanted)
    learned = embed_pictures(model, data, wanted) if tower is None else tower.pictures(data, wanted)
    languages = texts["language"].fillna("").tolist()
    stated = split_claims(texts_as_read(model, texts, entities), languages, vocabulary)
    values = stated_values(stated)
    scores = cross_fitted_scores(learned, pictures if tower is None else learned, stated, texts, values)
    limits = fit_limits(model, texts, entities, pictures, plan, scores=scores)
    probes = fit_probes(learned, stated, texts, {key: values[key] for key in limits.values()})
    name = "" if tower is None else tower.fingerprint
    return limits.model_copy(update={"words": words, "probes": probes, "tower": name})


def fit_limits(
    model: LoadedModel | None,
    texts: pd.DataFrame,
    entities: pd.DataFrame,
    pictures: EntityPictures,
    plan: ExchangePlan,
    *,
    scores: ProbeScores = MappingProxyType({}),
) -> ClaimModel:
    """The same from tables, with the vocabulary as it is and without probes.

    Args:
        model: See ``fit_claim_model``; None: the evidence is that of the probes alone.
        texts: N rows with entity_id, text, language; most of their claims are true.
        entities: The entity table.
        pictures: Of these entities.
        plan: Which claims are exchanged.
        scores: Of the entities, by probes that did not learn from them.
    """
    claims = exchange_claims(model, texts, entities, pictures, plan)
    stated = [claim.stated for claim in claims]
    offered = stated_values(stated)
    if scores or model is None:
        claims = with_scores(claims, texts, scores)
    draw = np.random.default_rng(_SEED)
    half = draw.integers(0, 2, size=len(entities))[pd.factorize(texts["entity_id"])[0]]
    by_key: dict[tuple[str, str], list[ExchangedClaim]] = {}
    for claim in claims:  # a value that is no alternative to others would win whatever the pictures show
        if not claim.reason and claim.stated.claim.value in offered[claim.stated.key]:
            by_key.setdefault(claim.stated.key, []).append(claim)
    enough = {key: some for key, some in sorted(by_key.items()) if len(some) >= FEWEST_CLAIMS}
    languages, at_once = [language for language, _ in enough], _stated_at_once(stated)
    limits = [
        limits_of(
            key,
            some,
            half,
            stated_at_once=at_once[key],
            false_alarms=FALSE_ALARMS / languages.count(key[0]),
            draw=draw,
        )
        for key, some in enough.items()
    ]
    return ClaimModel(
        judge="" if model is None else model.card.fingerprint,
        words="",
        most_texts=plan.most_texts,
        vocabulary=plan.vocabulary,
        attributes=tuple(limits),
        probes=(),
        varied=_varied(stated, texts, entities),
    )


def _stated_at_once(claims: list[StatedClaim]) -> dict[tuple[str, str], int]:
    """Language and attribute -> the number of different values that a text with the attribute states: the median."""
    values: dict[tuple[str, str], dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in claims:
        values[one.key][one.position].add(one.claim.value)
    return {key: int(np.median([len(some) for some in texts.values()])) for key, texts in values.items()}


def _varied(claims: list[StatedClaim], texts: pd.DataFrame, entities: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """The attributes of which more than ``FALSE_ALARMS`` of the claims are unusual in their category."""
    unusual = stated_elsewhere(claims, texts, _categories(entities)).unusual
    keys = pd.MultiIndex.from_tuples([stated.key for stated in claims], names=["language", "attribute"])
    shares = pd.Series(unusual, index=keys, dtype=float).groupby(level=[0, 1]).mean()
    return tuple((str(language), str(attribute)) for language, attribute in shares.index[shares > FALSE_ALARMS])


def _categories(entities: pd.DataFrame) -> dict[str, str]:
    known = entities.drop_duplicates("entity_id").set_index("entity_id")
    return {str(key): str(value) for key, value in known["category"].fillna("").items()}


# ---------------------------------------------------------------- use
class ClaimPictures(NamedTuple):
    """Pictures of the entities whose claims are checked."""

    by_judge: EntityPictures
    by_tower: EntityPictures | None = None
    """As the probes read them; None: as the judge sees them."""


def check_claims(
    judge: LoadedModel,
    claim_model: ClaimModel,
    explanations: pd.DataFrame,
    entities: pd.DataFrame,
    pictures: ClaimPictures,
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
        pictures: Of these entities; by the tower where ``claim_model`` was fitted with it.
        most_texts: So many texts with an exchanged claim are embedded at most.
        rows: (N,) bool: texts whose claims are checked; the others only show what is usual. None: all.
    """
    plan = ExchangePlan(claim_model.vocabulary, most_texts, claim_model.values(), rows)
    claims = exchange_claims(judge, explanations, entities, pictures.by_judge, plan)
    if any(len(one.scales) > 1 for one in claim_model.attributes):
        read = pictures.by_judge if pictures.by_tower is None else pictures.by_tower
        claims = with_scores(claims, explanations, scores_of(claim_model.probes, read))
    table = judged_claims(claim_model, claims, explanations, entities)
    return table if rows is None else table[rows[table["position"].to_numpy()]].reset_index(drop=True)


def judged_claims(
    claim_model: ClaimModel, claims: list[ExchangedClaim], explanations: pd.DataFrame, entities: pd.DataFrame
) -> pd.DataFrame:
    """``COLUMNS`` of these claims: their verdicts, and what texts of other entities of the category say."""
    stated = [claim.stated for claim in claims]
    return claim_model.judged(claims, explanations, stated_elsewhere(stated, explanations, _categories(entities)))


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
    exchanged = [ExchangedClaim(claim, (claim.claim.value,), np.zeros((0, 0)), why) for claim in claims]
    varied = _varied(claims, explanations, entities) if claims else ()
    none = ClaimModel(judge="", words="", most_texts=0, vocabulary=vocabulary, attributes=(), probes=(), varied=varied)
    return judged_claims(none, exchanged, explanations, entities).assign(reason=why)
