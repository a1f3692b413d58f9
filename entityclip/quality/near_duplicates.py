"""Near duplicates among the texts of several entities: candidates by MinHash, verified by Jaccard similarity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from entityclip.quality.tokens import ODD, HashedWords

NEARLY = 0.9
"""Jaccard similarity, of runs of three words, from which two texts count as near duplicates."""
_PERMUTATIONS, _BAND, _SEED = 32, 4, 7
_SLACK = 0.15
_CHUNK = 20_000


def shared_by(same: np.ndarray, entity: np.ndarray) -> np.ndarray:
    """(N,) labels and (N,) entities of texts -> (N,) number of entities that have a text with that label."""
    both = pd.DataFrame({"same": same, "entity": entity})
    counts = both.drop_duplicates()["same"].value_counts()
    return both["same"].map(counts).to_numpy(np.int64)


def near_duplicate_labels(words: HashedWords, same: np.ndarray) -> np.ndarray:
    """(N,) int64 labels, equal for near duplicates, also for those linked through other texts.

    Texts with equal ``same`` are duplicates. All others are candidates where a band of their MinHash is equal. Each is
    compared with the first text of the band only, so that the cost stays linear in the number of texts.
    """
    prints = _minhash(words)
    met = np.sort(np.concatenate([_meeting(same), *(_meeting(band) for band in _bands(prints))]))
    first, second = np.divmod(met[np.r_[True, np.diff(met) > 0][: len(met)]], max(1, len(same)))
    equal = same[first] == same[second]
    # The MinHash signatures rule out most pairs without a look at their words.
    near = np.flatnonzero(~equal)
    near = near[_estimated(prints, first[near], second[near]) >= NEARLY - _SLACK]
    equal[near] = _jaccard(words, first[near], second[near]) >= NEARLY
    return _components(first[equal], second[equal], len(same))


def _minhash(words: HashedWords) -> np.ndarray:
    """(N, 32) uint32 signatures; the share of equal columns estimates the similarity of two texts."""
    odd = np.random.default_rng(_SEED).integers(2**63, size=_PERMUTATIONS, dtype=np.uint64) * 2 + 1
    prints = np.full((len(words.ends) - 1, _PERMUTATIONS), np.iinfo(np.uint32).max, np.uint32)
    for start in range(0, len(prints), _CHUNK):
        runs = words.of(np.arange(start, min(start + _CHUNK, len(prints)))).runs_of_three()
        some = np.flatnonzero(np.diff(runs.ends))
        if len(some) == 0:
            continue
        flat = runs.hashes ^ (runs.hashes >> np.uint64(29))
        for column, multiplier in enumerate(odd):
            shuffled = ((flat * multiplier) >> np.uint64(32)).astype(np.uint32)
            prints[start + some, column] = np.minimum.reduceat(shuffled, runs.ends[some])
    return prints


def _bands(prints: np.ndarray) -> Iterator[np.ndarray]:
    """(N,) uint64, equal where four neighbouring prints are."""
    for start in range(0, _PERMUTATIONS, _BAND):
        band = np.zeros(len(prints), np.uint64)
        for column in range(start, start + _BAND):
            band = band * ODD + prints[:, column]
        yield band


def _meeting(labels: np.ndarray) -> np.ndarray:
    """Pairs (first text of its label, text) as first * N + text, for every text that is not the first."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.r_[True, labels[order][1:] != labels[order][:-1]][: len(order)])
    first = np.repeat(order[starts], np.diff(np.r_[starts, len(order)]))
    others = first != order
    return first[others].astype(np.int64) * len(labels) + order[others]


def _estimated(prints: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(P,) similarities of P pairs of texts, estimated from their signatures."""
    parts = [np.zeros(0)]
    for start in range(0, len(first), _CHUNK):
        some = slice(start, start + _CHUNK)
        parts.append((prints[first[some]] == prints[second[some]]).mean(axis=1))
    return np.concatenate(parts)


def _jaccard(words: HashedWords, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(P,) similarities of the sets of runs of three words of P pairs of texts."""
    parts = [np.zeros(0)]
    for start in range(0, len(first), _CHUNK):
        a, b = (_keyed(words.of(texts[start : start + _CHUNK]).runs_of_three()) for texts in (first, second))
        count = len(first[start : start + _CHUNK])
        alone = _distinct(*a, count) + _distinct(*b, count)
        together = _distinct(np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]]), count)
        parts.append((alone - together) / np.maximum(together, 1))
    return np.concatenate(parts)


def _keyed(runs: HashedWords) -> tuple[np.ndarray, np.ndarray]:
    """The runs of some texts, each mixed with the position of its text, and these positions."""
    places = runs.owner()
    return runs.hashes ^ (places.astype(np.uint64) * ODD), places


def _distinct(keys: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
    """(count,) number of different keys at each place."""
    return np.bincount(places[~pd.Series(keys).duplicated().to_numpy()], minlength=count)


def _components(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)
