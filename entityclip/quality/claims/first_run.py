"""Claims of a first run: no model of these data compares texts with pictures yet, but a pretrained image tower sees."""

from __future__ import annotations

import pandas as pd

from entityclip.quality.claims.claim_model import FEWEST_ENTITIES, fit_limits, judged_claims
from entityclip.quality.claims.exchange import ExchangePlan, exchange_claims, split_claims, stated_values
from entityclip.quality.claims.probes import cross_fitted_scores, pictures_of, with_scores
from entityclip.quality.claims.vocabulary import Vocabulary
from entityclip.quality.fit_text_quality import some_texts
from entityclip.quality.model_scores import EntityPictures, without_names


def first_run_claims(
    explanations: pd.DataFrame,
    source_provided: pd.DataFrame,
    entities: pd.DataFrame,
    pictures: EntityPictures,
    vocabulary: Vocabulary,
) -> pd.DataFrame | None:
    """``claim_table.COLUMNS`` of these texts, by probes that learn from the source's texts; None if it has too few.

    The source is taken as true. No claim is judged by probes that learned from its own entity.

    Args:
        explanations: N rows with explanation_id, entity_id, text, language.
        source_provided: Texts of the source: entity_id, text, language.
        entities: The entity table.
        pictures: Of the entities, as the pretrained tower sees them.
        vocabulary: The words that state a value.
    """
    known = source_provided[source_provided["entity_id"].isin(set(pictures.owners))]
    known = some_texts(known.drop_duplicates(["entity_id", "text", "language"])).reset_index(drop=True)
    if known["entity_id"].nunique() < FEWEST_ENTITIES:
        return None
    stated = split_claims(without_names(known, entities), known["language"].fillna("").tolist(), vocabulary)
    learned = pictures_of(pictures, set(known["entity_id"]))
    scores = cross_fitted_scores(learned, pictures, stated, known, stated_values(stated))
    limits = fit_limits(None, known, entities, pictures, ExchangePlan(vocabulary, 0), scores=scores)
    if not limits.attributes:
        return None
    plan = ExchangePlan(vocabulary, 0, limits.values())
    claims = with_scores(exchange_claims(None, explanations, entities, pictures, plan), explanations, scores)
    return judged_claims(limits, claims, explanations, entities)
