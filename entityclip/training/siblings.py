"""Siblings side by side: entities of one category with similar texts, whose pictures contrast most in one batch.

A batch drawn at random mostly contrasts a product with products that look nothing like it. An epoch still has the same
rows; only their order differs.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]

NEAREST = 8
"""Siblings that an entity has at most."""

BLOCK = 10_000
"""Rows among which siblings are looked for, so that streamed pictures stay cheap to read."""

CHUNK = 1000
"""Entities that are compared with all of their category at a time."""


def nearest_siblings(texts: Sequence[Sequence[str]], categories: Sequence[str]) -> np.ndarray:
    """The entities whose texts are most similar, of the same category.

    Args:
        texts: Of each of E entities. They are compared by TF-IDF of groups of 2 to 4 characters, in any language.
        categories: (E,) category of each.

    Returns:
        (E, NEAREST) numbers of entities, most similar first; -1 where there are fewer, or no text is in common.
    """
    found = np.full((len(texts), NEAREST), -1)
    joined = np.array([" ".join(of_entity) for of_entity in texts], dtype=object)
    of_category: dict[str, list[int]] = defaultdict(list)
    for number, category in enumerate(categories):
        if joined[number].strip():
            of_category[category].append(number)
    for members in map(np.array, of_category.values()):
        vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), dtype=np.float32).fit_transform(
            joined[members]
        )
        for start in range(0, len(members), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(members)))
            likeness = (vectors[rows] @ vectors.T).toarray()
            likeness[np.arange(len(rows)), rows] = 0
            nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :NEAREST]
            alike = np.take_along_axis(likeness, nearest, axis=1) > 0
            found[members[rows], : nearest.shape[1]] = np.where(alike, members[nearest], -1)
    return found


def beside_siblings(
    rows: np.ndarray, entities: np.ndarray, siblings: np.ndarray, *, share: float, rng: np.random.Generator
) -> np.ndarray:
    """The same rows, about ``share`` of them directly behind a row of a sibling.

    Args:
        rows: (N,) rows of an epoch; one may occur twice.
        entities: Entity of each row of the split.
        siblings: As of ``nearest_siblings``.
        share: 0 to less than 1. It is not reached where the siblings have no rows left.
        rng: Source of the draws.
    """
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    return np.concatenate([_ordered(block, entities[block], siblings, share=share, rng=rng) for block in blocks])


def _ordered(
    rows: np.ndarray, owner: np.ndarray, siblings: np.ndarray, *, share: float, rng: np.random.Generator
) -> np.ndarray:
    """One block: row after row, and behind it rows of its entity's siblings, each with the chance of ``share``."""
    waiting: dict[int, deque[int]] = defaultdict(deque)
    for place, entity in enumerate(owner.tolist()):
        waiting[entity].append(place)
    draws, picks = iter(rng.random(2 * len(rows)).tolist()), iter(rng.random(len(rows)).tolist())
    taken, order = np.zeros(len(rows), bool), []
    for place, entity in enumerate(owner.tolist()):
        if taken[place]:
            continue
        waiting[entity].popleft()  # this very place: the first of its entity that waits
        order.append(place)
        while next(draws) < share:
            near = [sibling for sibling in siblings[entity].tolist() if sibling >= 0 and waiting[sibling]]
            if not near:
                break
            beside = waiting[near[int(next(picks) * len(near))]].popleft()
            taken[beside] = True
            order.append(beside)
    return rows[order]
