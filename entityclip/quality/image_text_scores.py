"""Scores of explanations against the pictures of their entities, from the vectors of a model.

The model must not have been trained on the texts that it scores: if they are swapped, it has learned the swap. Use the
champion of an earlier data version, or a model that was trained on other entities.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

PICTURE_SCORES = ("picture_match", "picture_rank", "picture_margin", "swap_drop")
MOST_RIVALS, MOST_SIBLINGS = 500, 48
"""Sample sizes of texts, and of entities of a category; they keep the cost linear."""
_CHUNK, _SEED = 10_000, 7


def score_against_pictures(
    explanations: pd.DataFrame,
    entities: pd.DataFrame,
    *,
    text_vectors: np.ndarray,
    picture_vectors: np.ndarray,
    picture_entities: Sequence[str],
) -> pd.DataFrame:
    """``explanations`` with these columns added, all of them missing where the entity has no picture:

    - ``picture_match``: cosine of the text and the mean of its entity's pictures, -1 to 1.
    - ``picture_rank``: share of other entities' texts that these pictures are nearer to, 0 (none) to 1. Detects
      texts of other categories.
    - ``picture_margin``: ``picture_match`` minus the same with the best-fitting other entity of the category, -2 to
      2; below 0 the text fits a sibling's pictures better. Missing where no sibling has pictures. Detects texts that
      were swapped within a category.
    - ``swap_drop``: what ``picture_match`` loses when the text is exchanged for a sibling's (the median over
      theirs), -2 to 2; a text that can be exchanged without loss is not about these pictures. Missing without siblings.

    Args:
        explanations: N rows with entity_id.
        entities: The entity table: entity_id, category.
        text_vectors: (N, D) unit rows, of the texts with their names masked as in training.
        picture_vectors: (P, D) unit rows.
        picture_entities: (P,) the entity_id of each.
    """
    known = entities.drop_duplicates("entity_id")
    place = pd.Index(known["entity_id"])
    category = pd.factorize(known["category"].fillna(""))[0]
    centres = entity_centres(picture_vectors, place.get_indexer(pd.Index(picture_entities)), count=len(place))
    owner = place.get_indexer(pd.Index(explanations["entity_id"]))
    scores = {name: np.full(len(owner), np.nan) for name in PICTURE_SCORES}
    shown = np.flatnonzero((owner >= 0) & (np.linalg.norm(centres, axis=1) > 0)[owner])
    match = np.einsum("nd,nd->n", text_vectors[shown], centres[owner[shown]])
    scores["picture_match"][shown] = match
    scores["picture_rank"][shown] = _rank(match, shown, owner, text_vectors, centres)
    for rows in _by_category(shown, category[owner[shown]]):
        own = scores["picture_match"][rows]
        scores["picture_margin"][rows] = own - _best_sibling(rows, owner, text_vectors, centres)
        scores["swap_drop"][rows] = own - _exchanged(rows, owner, text_vectors, centres)
    return explanations.assign(**scores)


def entity_centres(vectors: np.ndarray, owner: np.ndarray, *, count: int) -> np.ndarray:
    """(count, D) unit mean of each entity's pictures; zero where it has none."""
    sums = np.zeros((count, vectors.shape[1]), dtype=np.float32)
    np.add.at(sums, owner[owner >= 0], vectors[owner >= 0])
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


def _rank(match: np.ndarray, rows: np.ndarray, owner: np.ndarray, texts: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Share of the rival texts of other entities that a row's pictures are nearer to than to its own text."""
    rivals = np.random.default_rng(_SEED).permutation(len(owner))[:MOST_RIVALS]
    parts = [np.zeros(0)]
    for start in range(0, len(rows), _CHUNK):
        some = rows[start : start + _CHUNK]
        other = owner[some][:, None] != owner[rivals][None, :]
        nearer = centres[owner[some]] @ texts[rivals].T > match[start : start + _CHUNK, None]
        parts.append(
            np.where(other.any(axis=1), (nearer & other).sum(axis=1) / np.maximum(other.sum(axis=1), 1), np.nan)
        )
    return np.concatenate(parts)


def _by_category(rows: np.ndarray, category: np.ndarray) -> Iterator[np.ndarray]:
    order = np.argsort(category, kind="stable")
    yield from np.split(rows[order], np.flatnonzero(np.diff(category[order])) + 1) if len(rows) else ()


def _best_sibling(rows: np.ndarray, owner: np.ndarray, texts: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Cosine of each text of one category with the pictures of the sibling that fits it best; nan without one."""
    siblings = np.random.default_rng(_SEED).permutation(np.unique(owner[rows]))[:MOST_SIBLINGS]
    cosines = texts[rows] @ centres[siblings].T
    cosines[owner[rows][:, None] == siblings[None, :]] = -np.inf
    best = cosines.max(axis=1)
    return np.where(np.isfinite(best), best, np.nan)


def _exchanged(rows: np.ndarray, owner: np.ndarray, texts: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Median cosine of the siblings' texts with each row's pictures; nan without siblings."""
    exchanged = np.random.default_rng(_SEED).permutation(rows)[:MOST_SIBLINGS]
    present, place = np.unique(owner[rows], return_inverse=True)
    cosines = centres[present] @ texts[exchanged].T
    cosines[present[:, None] == owner[exchanged][None, :]] = np.nan
    some = ~np.isnan(cosines).all(axis=1)
    medians = np.full(len(present), np.nan)
    medians[some] = np.nanmedian(cosines[some], axis=1)
    return medians[place]
