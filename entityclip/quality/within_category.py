"""Similarity of a text with its own entity's texts and with those of other entities of the category, by TF-IDF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from entityclip.quality.tokens import HashedWords

MOST_SIBLINGS = 48
"""Sample size of a category's entities; it keeps the cost linear."""
_CHUNK, _SEED = 20_000, 7


class Likeness(NamedTuple):
    """Three columns, (N,) each."""

    own: np.ndarray
    """Cosine with the entity's other texts, 0 to 1; nan where there is no other."""
    sibling: np.ndarray
    """Cosine with the texts of the nearest other entity of the category, 0 to 1; nan where there is no other."""
    nearest: np.ndarray
    """Which entity that is, int64; -1 where there is none."""


def likeness(
    words: HashedWords, entity: np.ndarray, category: np.ndarray, *, profile: np.ndarray | None = None
) -> Likeness:
    """Compare every text with the other texts of its entity, and with those of other entities of its category.

    A text is the set of its words. The weight of a word is its inverse document frequency among the entities of the
    category: 0 for a word that all of them use, largest for a word of one entity alone.

    Args:
        words: N texts.
        entity: (N,) int64, the entity of each text: 0 to E - 1.
        category: (E,) int64, the category of each entity.
        profile: (N,) bool, the texts that others are compared with, at least one of each entity; by default all.
    """
    profile = np.ones(len(entity), bool) if profile is None else profile
    own, sibling = np.full(len(entity), np.nan), np.full(len(entity), np.nan)
    nearest = np.full(len(entity), -1)
    chosen = _references(entity[profile], category)
    for rows in _chunks(entity, category):
        present = np.isin(category[entity], category[entity[rows]])
        texts = np.union1d(rows, np.flatnonzero(present & chosen[entity]))
        matrix = _weighed(words, texts, entity[texts], category, chosen)
        queried = np.searchsorted(texts, rows)
        own[rows] = _own(matrix, entity[texts], profile[texts])[queried]
        profiles = _members(entity[texts], chosen[entity[texts]] & profile[texts]) @ matrix
        sibling[rows], nearest[rows] = _nearest(matrix[queried], entity[texts[queried]], profiles, category, chosen)
    return Likeness(own, sibling, nearest)


def _references(entity: np.ndarray, category: np.ndarray) -> np.ndarray:
    """(E,) bool: the sampled entities of each category, of those that have a text."""
    chosen = np.zeros(len(category), bool)
    drawn = pd.Series(np.random.default_rng(_SEED).permutation(np.unique(entity)))
    chosen[drawn[drawn.groupby(category[drawn]).cumcount() < MOST_SIBLINGS]] = True
    return chosen


def _chunks(entity: np.ndarray, category: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of whole entities, category after category."""
    order = np.lexsort((entity, category[entity]))
    borders = np.flatnonzero(np.r_[True, np.diff(entity[order]) != 0][: len(order)])
    cuts = np.unique(borders[np.searchsorted(borders, np.arange(0, len(order), _CHUNK), side="right") - 1])
    yield from np.split(order, cuts[1:]) if len(order) else ()


def _weighed(
    words: HashedWords, texts: np.ndarray, owner: np.ndarray, category: np.ndarray, chosen: np.ndarray
) -> csr_array:
    """(T, V) the words of T texts, rows of length 1. Each category has its own words, as columns."""
    held_words = words.of(texts)
    row = held_words.owner()
    group = category[owner].astype(np.uint64)[row] << np.uint64(32)
    column, keys = pd.factorize(group | held_words.hashes, sort=True)
    held = csr_array((np.ones(len(row)), (row, column)), shape=(len(texts), len(keys)))
    held.data[:] = 1
    # Document frequency of a word among the sampled entities of its category.
    users = np.bincount((_members(owner, chosen[owner]) @ held).indices, minlength=len(keys))
    size = np.bincount(category[np.unique(owner[chosen[owner]])], minlength=len(category))
    held.data *= np.log((1 + size[(keys >> np.uint64(32)).astype(np.int64)]) / (1 + users))[held.indices]
    return _unit(held)


def _members(owner: np.ndarray, chosen: np.ndarray) -> csr_array:
    """(entities, T) ones where a chosen text is of the entity: every entity with a chosen text, in order."""
    texts = np.flatnonzero(chosen)
    rows = np.unique(owner[texts], return_inverse=True)[1]
    return csr_array((np.ones(len(texts)), (rows, texts)), shape=(int(rows.max(initial=-1)) + 1, len(owner)))


def _unit(matrix: csr_array) -> csr_array:
    lengths = np.sqrt(matrix.multiply(matrix).sum(axis=1))
    matrix.data /= np.repeat(np.maximum(lengths, 1e-12), np.diff(matrix.indptr))
    return matrix


def _own(matrix: csr_array, owner: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """(T,) cosine of each text with the sum of the profile texts of its entity, without itself."""
    place = np.unique(owner, return_inverse=True)[1]
    sums = _members(owner, profile) @ matrix
    length2 = sums.multiply(sums).sum(axis=1)[place]
    with_all = matrix.multiply(sums[place]).sum(axis=1)
    itself = matrix.multiply(matrix).sum(axis=1) * profile
    rest = np.sqrt(np.maximum(length2 - 2 * with_all * profile + itself, 1e-12))
    others = np.bincount(place, weights=profile)[place] - profile
    return np.where(others > 0, (with_all - itself) / rest, np.nan)


def _nearest(
    texts: csr_array, owner: np.ndarray, profiles: csr_array, category: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Similarity of each text (Q, V) of ``owner`` with the nearest sibling, and the sibling.

    ``profiles`` (entities, V) are the chosen entities of the same categories, in order.
    """
    entities = np.flatnonzero(chosen & np.isin(category, category[owner]))
    likeness = (texts @ _unit(profiles).T).tocsr()
    rows, seen = np.repeat(np.arange(len(owner)), np.diff(likeness.indptr)), entities[likeness.indices]
    scores = np.where(seen == owner[rows], -1.0, likeness.data)
    best, nearest = np.zeros(len(owner)), np.full(len(owner), -1)
    np.maximum.at(best, rows, scores)
    hits = scores == best[rows]
    nearest[rows[hits]] = seen[hits]
    group, size = category[owner], np.bincount(category[entities], minlength=len(category))
    return np.where(size[group] > chosen[owner], best, np.nan), nearest
