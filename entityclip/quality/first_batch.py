"""Texts against pictures where there is no model yet: each part of the entities is judged by a fit on the others.

Ridge regression predicts features of a pretrained image tower from the words of a text. The entities are split into
``FOLDS`` parts; the texts of one part are predicted by a fit on the others, so that no fit has learned from a text that
it judges (cross-fitting). The contrast of a text compares it with the pictures of its own entity, and the texts of
other entities of the part with the same pictures. A text that fits its pictures no better than those is about something
else.

The batch may hold such texts already. So the limit follows from a mixture of two normal distributions, of which one is
known: the contrasts of texts about something else. There is no limit where it would let too many of those pass.

Where all texts are about something else, there is no limit either. A permutation test tells this case: texts and
pictures agree no better than when the entities' texts are exchanged at random, although categories and names predict
the pictures.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from entityclip.data.text import mask_names
from entityclip.quality.image_text_scores import entity_centres
from entityclip.quality.model_scores import EntityPictures
from entityclip.quality.tokens import WORD
from entityclip.training.first_projection import whitening

FOLDS = 5
FEWEST_ENTITIES = 40
"""Entities with a text and a picture; of fewer, neither fit nor comparison says anything."""
FALSE_ALARMS_AT = 2.33
"""Standard deviations below the mean of sound texts: 1 % of these, where they are normally distributed."""
NEVER_ABOVE = 0.95
"""A text that fits its pictures better than this share of other texts is never set aside."""
LEAST_CAUGHT = 0.5
"""Share of other entities' texts that has to be below the limit; otherwise there is none."""
PERMUTATIONS, RELATED_BELOW = 999, 0.01
"""Random exchanges of the entities' texts, and the p-value below which texts and pictures agree."""
MOST_LEARNED, MOST_RIVALS = 4_000, 500
"""Texts that a fit learns from, and texts that pictures are compared with, at most; they keep the cost linear."""
_RIDGE, _COMPONENTS, _WORDS, _SEED = 1.0, 64, 2**18, 0
_STEPS, _LEAST_SPREAD = 200, 0.3


class FirstBatch(NamedTuple):
    """The judgement of a batch."""

    contrast: np.ndarray
    """(N,) of each text; nan where its entity has no picture."""
    limit: float
    """Texts below it fit their pictures no better than texts of others; nan without a limit."""
    why_not: str
    """Why there is no limit; empty where there is one."""
    unrelated: str = ""
    """The evidence that no text of the batch is about its pictures; empty without such evidence."""


def judge_first_batch(explanations: pd.DataFrame, entities: pd.DataFrame, pictures: EntityPictures) -> FirstBatch:
    """Compare every text with the pictures of its entity, by fits on other entities.

    Args:
        explanations: N rows with entity_id and text.
        entities: The entity table: entity_id, entity, aliases.
        pictures: Features of a pretrained tower, see ``model_scores.entity_pictures``.
    """
    known = entities.drop_duplicates("entity_id").set_index("entity_id")
    owner = known.index.get_indexer(pd.Index(explanations["entity_id"]))
    centres = _centres(pictures, known.index)
    shown = np.linalg.norm(centres, axis=1) > 0
    judged = np.flatnonzero((owner >= 0) & shown[owner])
    contrast, present = np.full(len(owner), np.nan), np.unique(owner[judged])
    if len(present) < FEWEST_ENTITIES:
        why = f"{len(present)} entities have a text and a picture; expected at least {FEWEST_ENTITIES}"
        return FirstBatch(contrast, np.nan, why)
    part = np.full(len(known), -1)
    part[np.random.default_rng(_SEED).permutation(present)] = np.arange(len(present)) % FOLDS
    words = _weighed_words(_masked(explanations.iloc[judged], known))
    predicted = _predicted(words, centres[owner[judged]], part[owner[judged]])
    contrast[judged], others = _contrasts(predicted, owner[judged], centres, part)
    found = _limited(contrast, others)
    if not found.why_not:
        return found
    agreement = _p_value(predicted, owner[judged], centres, part)
    return found._replace(unrelated=_unrelated(agreement, known.iloc[present], present, centres, part))


def _centres(pictures: EntityPictures, ids: pd.Index) -> np.ndarray:
    """(E, D) unit mean of the whitened features of each entity's pictures; zero where it has none."""
    vectors = pictures.vectors
    if len(vectors) > 1:
        vectors = vectors - vectors.mean(axis=0)
        vectors = vectors @ whitening(vectors, dim=min(_COMPONENTS, vectors.shape[1])).T
    return entity_centres(vectors, ids.get_indexer(pd.Index(pictures.owners)), count=len(ids))


def _masked(explanations: pd.DataFrame, known: pd.DataFrame) -> list[str]:
    """The texts with their own names masked, as in training."""
    names = known.loc[explanations["entity_id"], ["entity", "aliases"]].itertuples(index=False)
    return [
        mask_names(text, [name, *(() if aliases is None else aliases)])
        for text, (name, aliases) in zip(explanations["text"].fillna(""), names, strict=True)
    ]


def _weighed_words(texts: list[str]) -> csr_array:
    """(N, V) TF-IDF of words and of pairs of neighbours; unit rows."""
    from sklearn.feature_extraction.text import (  # type: ignore[import-untyped]
        HashingVectorizer,
        TfidfTransformer,
    )

    counts = HashingVectorizer(
        n_features=_WORDS,
        tokenizer=WORD.findall,
        token_pattern=None,
        ngram_range=(1, 2),
        alternate_sign=False,
        norm=None,
    ).transform(texts)
    return csr_array(TfidfTransformer(sublinear_tf=True).fit_transform(counts))


def _predicted(words: csr_array, centres: np.ndarray, part: np.ndarray) -> np.ndarray:
    """(N, D) unit rows: the features that the words of each text predict, by a fit on the other parts."""
    predicted, draw = np.zeros_like(centres, dtype=np.float64), np.random.default_rng(_SEED)
    for fold in range(FOLDS):
        learned = draw.permutation(np.flatnonzero(part != fold))[:MOST_LEARNED]
        rows, mean = words[learned], centres[learned].mean(axis=0)
        kernel = (rows @ rows.T).toarray() + _RIDGE * np.eye(len(learned))
        weight = rows.T @ np.linalg.solve(kernel, centres[learned] - mean)
        predicted[part == fold] = words[part == fold] @ weight
    return predicted / np.linalg.norm(predicted, axis=1, keepdims=True).clip(min=1e-12)


def _contrasts(
    predicted: np.ndarray, owner: np.ndarray, centres: np.ndarray, part: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Contrast of each text with its own pictures (N,), and of texts with pictures of other entities (M,).

    The contrast is the cosine, less the mean cosine of other entities' texts with the same pictures, by their standard
    deviation. Only texts of one part are compared, which are predicted by the same fit.
    """
    contrast, others, draw = np.full(len(owner), np.nan), [], np.random.default_rng(_SEED)
    for fold in range(FOLDS):
        rows = np.flatnonzero(part[owner] == fold)
        rivals = draw.permutation(rows)[:MOST_RIVALS]
        present, place = np.unique(owner[rows], return_inverse=True)
        cosines = centres[present] @ predicted[rivals].T
        cosines[present[:, None] == owner[rivals][None, :]] = np.nan
        mean, spread = np.nanmean(cosines, axis=1), np.nanstd(cosines, axis=1).clip(min=1e-6)
        own = np.einsum("nd,nd->n", predicted[rows], centres[owner[rows]])
        contrast[rows] = (own - mean[place]) / spread[place]
        apart = (cosines - mean[:, None]) / spread[:, None]
        others.append(apart[np.isfinite(apart)])
    return contrast, np.concatenate(others)


def _p_value(predicted: np.ndarray, owner: np.ndarray, centres: np.ndarray, part: np.ndarray) -> float:
    """The p-value of a permutation test: the share of random exchanges that agree with the pictures at least as well.

    The texts of an entity are exchanged together, within one part, whose pictures no fit has learned from.
    """
    own, exchanged, draw = 0.0, np.zeros(PERMUTATIONS), np.random.default_rng(_SEED)
    for fold in range(FOLDS):
        rows = np.flatnonzero(part[owner] == fold)
        present, place = np.unique(owner[rows], return_inverse=True)
        said = entity_centres(predicted[rows].astype(np.float32), place, count=len(present))
        cosines = centres[present] @ said.T
        cosines /= cosines.std(axis=1, keepdims=True).clip(min=1e-6)
        own += float(np.trace(cosines))
        every = np.arange(len(present))
        exchanged += [cosines[draw.permutation(every), every].sum() for _ in range(PERMUTATIONS)]
    return float(1 + (exchanged >= own).sum()) / (1 + PERMUTATIONS)


def _unrelated(
    agreement: float, entities: pd.DataFrame, present: np.ndarray, centres: np.ndarray, part: np.ndarray
) -> str:
    """The evidence that the texts are not about the pictures, by the p-value of their ``agreement``.

    Pictures that neither texts nor categories and names predict say nothing: the tower may see nothing in them.
    """
    if agreement < RELATED_BELOW:
        return ""
    category = entities["category"].fillna("") if "category" in entities else pd.Series("", index=entities.index)
    words = _weighed_words([f"{of} {name}" for of, name in zip(category, entities["entity"], strict=True)])
    control = _p_value(_predicted(words, centres[present], part[present]), present, centres, part)
    if control >= RELATED_BELOW:
        return ""
    return (
        f"the texts fit their pictures no better than when they are exchanged at random (p = {agreement:.2g} in a "
        f"permutation test), although categories and names predict the pictures (p = {control:.2g})"
    )


def _limited(contrast: np.ndarray, others: np.ndarray) -> FirstBatch:
    """The limit, or why there is none."""
    random, middle, spread = _mixture(contrast[np.isfinite(contrast)])
    limit = min(middle - FALSE_ALARMS_AT * spread, float(np.quantile(others, NEVER_ABOVE)))
    caught = float((others < limit).mean())
    if caught >= LEAST_CAUGHT:
        return FirstBatch(contrast, limit, "")
    why = f"a limit that sound texts pass would set aside only {caught:.0%} of the texts of other entities"
    return FirstBatch(contrast, np.nan, f"{why}; {random:.0%} of the texts look as if they were about something else")


def _mixture(contrast: np.ndarray) -> tuple[float, float, float]:
    """Share of texts about something else, and mean and standard deviation of the others, by expectation maximisation.

    Contrasts of texts about something else are standard normal by their definition; those of others count as normal.
    """
    random, middle, spread = 0.2, float(np.quantile(contrast, 0.75)), 1.0
    for _ in range(_STEPS):
        unlikely = random * np.exp(-(contrast**2) / 2)
        likely = (1 - random) * np.exp(-(((contrast - middle) / spread) ** 2) / 2) / spread
        sound = likely / (likely + unlikely).clip(min=1e-300)
        random = 1 - float(sound.mean())
        middle = float(np.average(contrast, weights=sound))
        spread = max(_LEAST_SPREAD, float(np.sqrt(np.average((contrast - middle) ** 2, weights=sound))))
    return random, middle, spread
