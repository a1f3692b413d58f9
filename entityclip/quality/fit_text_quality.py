"""Learn what sound texts look like to one model: from planted faults, and from what people turned down."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from entityclip.data import pairs
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import DataLayout
from entityclip.quality import score_explanations
from entityclip.quality.fault_injection import SWAPS, plant
from entityclip.quality.model_scores import judged, look
from entityclip.quality.review import Review
from entityclip.quality.text_quality_model import SoundnessModel, learn

FALSE_ALARMS = 0.01
"""Share of sound texts that the gate may set aside for being unlikely."""
_FAULTY = 0.5
_LARGEST = 5_000
"""Texts of more entities teach no more."""


def learn_soundness(
    model: LoadedModel,
    data: DataLayout,
    *,
    reviews: Iterable[Review] = (),
    false_alarms: float = FALSE_ALARMS,
    seed: int = 0,
    progress: bool = False,
) -> SoundnessModel:
    """The probability that a text is sound, as ``model`` helps to see it.

    Half of the texts go wrong, once entity by entity by swaps and once in every way; the rest are taken for sound.
    Texts that a person has rejected count as faulty.

    Args:
        model: Who looks at the pictures, the champion.
        data: A version whose texts are mostly sound: one that passed the gate.
        reviews: What people decided.
        false_alarms: Share of sound texts that the threshold may set aside.
        seed: Of the planted faults.
        progress: Show bars.

    Raises:
        ConfigError: Too few texts to learn from.
    """
    entities = pairs.read_frame(data.entities)
    texts = _some(pairs.read_frame(data.explanations))
    batches = [
        plant(texts, entities, share=_FAULTY, kinds=SWAPS, by="entity", seed=seed),
        plant(texts, entities, share=_FAULTY, seed=seed + 1),
    ]
    if (rejected := _rejected(reviews, entities)) is not None:
        batches.append(rejected)
    seen = look(model, data, {owner for batch in batches for owner in batch["entity_id"]}, progress=progress)
    scored = pd.concat(
        [judged(model, score_explanations(batch, entities), data, seen=seen, progress=progress) for batch in batches],
        ignore_index=True,
    )
    origin: dict[str, str | int | float] = {"judge": model.card.fingerprint, "data": model.card.data_hash, "seed": seed}
    return learn(scored, scored["planted"].isna(), learned_from=origin, false_alarms=false_alarms)


def _some(texts: pd.DataFrame) -> pd.DataFrame:
    """All texts of as many entities as are enough, always the same ones."""
    order = sorted(texts["entity_id"].unique(), key=lambda entity: pairs.digest("soundness", str(entity)))
    count = texts["entity_id"].value_counts().loc[order].cumsum()
    return texts[texts["entity_id"].isin(count.index[count <= max(_LARGEST, int(count.iloc[0]))])] if order else texts


def _rejected(reviews: Iterable[Review], entities: pd.DataFrame) -> pd.DataFrame | None:
    """The texts that a person has turned down, as rows of the table of explanations; None without any."""
    known = entities.drop_duplicates("entity_id").set_index("entity_id")
    rows = [
        {
            "explanation_id": review.explanation_id,
            "entity_id": review.entity_id,
            "caption": review.entity,
            "text": review.text,
            "language": known.at[review.entity_id, "language"],
            "planted": "rejected",
        }
        for review in reviews
        if review.decision != "accept" and review.entity_id in known.index
    ]
    return pd.DataFrame(rows) if rows else None
