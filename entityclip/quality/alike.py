"""Texts of several entities that are nearly the same: found by MinHash, verified word by word."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
import pandas as pd

NEARLY = 0.9
"""Jaccard similarity, of runs of three words, from which on two texts are nearly the same."""
_PERMUTATIONS, _BAND, _SEED = 32, 4, 7
_SLACK = 0.15
_AT_ONCE = 20_000
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Words(NamedTuple):
    """The words of N texts, hashed, without those of each one's own names: a template stays one template."""

    hashes: np.ndarray
    """uint32, those of all texts one after the other."""
    ends: np.ndarray
    """(N + 1,) int64: text i has the words from ``ends[i]`` to ``ends[i + 1]``."""

    @classmethod
    def of(cls, texts: Iterable[Sequence[str]]) -> Self:
        """Hash lists of words."""
        lists = [[zlib.crc32(word.encode("utf-8", "replace")) for word in words] for words in texts]
        ends = np.concatenate([[0], np.cumsum([len(words) for words in lists], dtype=np.int64)])
        flat = np.fromiter((word for words in lists for word in words), np.uint32, count=int(ends[-1]))
        return cls(flat, ends.astype(np.int64))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Those of all parts, in order."""
        starts = np.cumsum([0, *(part.ends[-1] for part in parts)])
        ends = [part.ends[1:] + start for part, start in zip(parts, starts, strict=False)]
        zero = np.zeros(1, dtype=np.int64)
        return cls(np.concatenate([np.zeros(0, np.uint32), *(p.hashes for p in parts)]), np.concatenate([zero, *ends]))

    def owner(self) -> np.ndarray:
        """The text of each word, int64."""
        return np.repeat(np.arange(len(self.ends) - 1), np.diff(self.ends))


def shared_by(same: np.ndarray, entity: np.ndarray) -> np.ndarray:
    """(N,) labels of texts, (N,) whose each is -> (N,) number of entities that have a text of that label."""
    both = pd.DataFrame({"same": same, "entity": entity})
    counts = both.drop_duplicates()["same"].value_counts()
    return both["same"].map(counts).to_numpy(np.int64)


def alike(words: Words, same: np.ndarray) -> np.ndarray:
    """(N,) int64 labels, equal for texts that are nearly the same, or become so in a few steps.

    Texts with equal ``same`` are. The rest meet where a band of their MinHash is equal, and are compared with the
    first text of that band: however many are alike, each is compared a few times and never with all others.
    """
    runs = _runs_of_three(words)
    prints = _minhash(runs)
    met = [_meeting(same), *(_meeting(band) for band in _bands(prints))]
    first, second = np.divmod(np.unique(np.concatenate(met)), max(1, len(same)))
    equal = same[first] == same[second]
    # The prints tell most pairs apart without looking at their words.
    near = ~equal & ((prints[first] == prints[second]).mean(axis=1) >= NEARLY - _SLACK)
    equal[near] = _jaccard(runs, first[near], second[near]) >= NEARLY
    return _components(first[equal], second[equal], len(same))


def _runs_of_three(words: Words) -> Words:
    """The runs of three words as hashes, uint64; a text of fewer words has none."""
    flat, owner = words.hashes.astype(np.uint64), words.owner()
    within = owner[2:] == owner[:-2]
    runs = ((flat[:-2] * _ODD + flat[1:-1]) * _ODD + flat[2:])[within]
    lengths = np.maximum(np.diff(words.ends) - 2, 0)
    return Words(runs, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def _minhash(runs: Words) -> np.ndarray:
    """(N, 32) uint32 prints; the share that two texts have in common estimates their similarity."""
    from rensa import RMinHash  # type: ignore[import-untyped]

    parts = [np.zeros((0, _PERMUTATIONS), np.uint32)]
    for start in range(0, len(runs.ends) - 1, _AT_ONCE):
        ends = runs.ends[start : start + _AT_ONCE + 1]
        flat, places = runs.hashes[ends[0] : ends[-1]], (ends - ends[0]).astype(np.uint64)
        made = RMinHash.digest_matrix_from_flat_token_hashes(flat, places, _PERMUTATIONS, _SEED)
        parts.append(np.array(made.to_rows(), np.uint32).reshape(-1, _PERMUTATIONS))
    return np.concatenate(parts)


def _bands(prints: np.ndarray) -> Iterator[np.ndarray]:
    """(N,) uint64, equal where four neighbouring prints are."""
    for start in range(0, _PERMUTATIONS, _BAND):
        band = np.zeros(len(prints), np.uint64)
        for column in range(start, start + _BAND):
            band = band * _ODD + prints[:, column]
        yield band


def _meeting(labels: np.ndarray) -> np.ndarray:
    """Pairs (first text of its label, text) as first * N + text, for every text that is not the first."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.r_[True, labels[order][1:] != labels[order][:-1]][: len(order)])
    first = np.repeat(order[starts], np.diff(np.r_[starts, len(order)]))
    others = first != order
    return first[others].astype(np.int64) * len(labels) + order[others]


def _jaccard(runs: Words, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(P,) similarities of the sets of runs of P pairs of texts."""
    parts = [np.zeros(0)]
    for start in range(0, len(first), _AT_ONCE):
        a, b = (_keyed(runs, texts[start : start + _AT_ONCE]) for texts in (first, second))
        count = len(first[start : start + _AT_ONCE])
        alone = _distinct(*a, count) + _distinct(*b, count)
        together = _distinct(np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]]), count)
        parts.append((alone - together) / np.maximum(together, 1))
    return np.concatenate(parts)


def _keyed(runs: Words, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The runs of some texts, each mixed with the place of its text among them, and these places."""
    starts, lengths = runs.ends[texts], runs.ends[texts + 1] - runs.ends[texts]
    places = np.repeat(np.arange(len(texts)), lengths)
    within = np.arange(len(places)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return runs.hashes[starts[places] + within] ^ (places.astype(np.uint64) * _ODD), places


def _distinct(keys: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
    """(count,) number of different keys at each place."""
    return np.bincount(places[np.unique(keys, return_index=True)[1]], minlength=count)


def _components(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)
