"""Fit the text-quality model of one champion: on injected faults, and on texts that reviewers rejected."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from entityclip.data import pairs
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import DataLayout
from entityclip.quality import score_explanations
from entityclip.quality.fault_injection import SWAPS, inject_faults
from entityclip.quality.model_scores import embed_pictures, score_with_model
from entityclip.quality.review import Review
from entityclip.quality.text_quality_model import TextQualityModel, fit_model

FALSE_ALARMS = 0.01
"""Largest share of faultless texts that the gate may quarantine by text quality."""
_FAULTY = 0.5
_LARGEST = 5_000
"""Texts used at most; more do not improve the fit."""


def fit_text_quality(
    model: LoadedModel,
    data: DataLayout,
    *,
    reviews: Iterable[Review] = (),
    false_alarms: float = FALSE_ALARMS,
    seed: int = 0,
    progress: bool = False,
) -> TextQualityModel:
    """A model of the probability that a text has no fault, given the image-text scores of ``model`` among others.

    Faults are injected into half of the texts twice: swaps of whole entities, and every kind in single texts. The other
    half counts as faultless. Texts that a reviewer rejected count as faulty.

    Args:
        model: The champion, which embeds texts and pictures.
        data: A version that passed the gate, so that most of its texts have no fault.
        reviews: Decisions of reviewers.
        false_alarms: Largest false-positive rate of the threshold.
        seed: Of the injected faults.
        progress: Show bars.

    Raises:
        ConfigError: Too few texts to learn from.
    """
    entities = pairs.read_frame(data.entities)
    texts = some_texts(pairs.read_frame(data.explanations))
    batches = [
        inject_faults(texts, entities, share=_FAULTY, kinds=SWAPS, by="entity", seed=seed),
        inject_faults(texts, entities, share=_FAULTY, seed=seed + 1),
    ]
    if (rejected := _rejected(reviews, entities)) is not None:
        batches.append(rejected)
    seen = embed_pictures(model, data, {owner for batch in batches for owner in batch["entity_id"]}, progress=progress)
    scored = pd.concat(
        [
            score_with_model(model, score_explanations(batch, entities), data, seen=seen, progress=progress)
            for batch in batches
        ],
        ignore_index=True,
    )
    origin: dict[str, str | int | float] = {"judge": model.card.fingerprint, "data": model.card.data_hash, "seed": seed}
    return fit_model(scored, scored["injected_fault"].isna(), learned_from=origin, false_alarms=false_alarms)


def some_texts(texts: pd.DataFrame) -> pd.DataFrame:
    """All texts of a fixed sample of entities, about ``_LARGEST`` texts at most."""
    order = sorted(texts["entity_id"].unique(), key=lambda entity: pairs.digest("text_quality", str(entity)))
    count = texts["entity_id"].value_counts().loc[order].cumsum()
    return texts[texts["entity_id"].isin(count.index[count <= max(_LARGEST, int(count.iloc[0]))])] if order else texts


def _rejected(reviews: Iterable[Review], entities: pd.DataFrame) -> pd.DataFrame | None:
    """Texts that a reviewer rejected or edited, as rows of the explanation table; None without any."""
    known = entities.drop_duplicates("entity_id").set_index("entity_id")
    rows = [
        {
            "explanation_id": review.explanation_id,
            "entity_id": review.entity_id,
            "caption": review.entity,
            "text": review.text,
            "language": known.at[review.entity_id, "language"],
            "injected_fault": "rejected",
        }
        for review in reviews
        if review.decision != "accept" and review.entity_id in known.index
    ]
    return pd.DataFrame(rows) if rows else None
