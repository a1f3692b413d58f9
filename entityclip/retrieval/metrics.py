"""Retrieval metrics: pure functions from unit vectors to ranks, and from ranks to figures with intervals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

BLOCK = 2**26
"""Similarities held at a time: 256 MB of float32, however many queries there are."""

TIE = 1e-6
"""Similarities closer than this are equal: a matrix product rounds equal vectors differently by their place."""

DRAWS = 1000
"""Bootstrap resamples."""

WEIGHTS = 2**22
"""Bootstrap weights at a time: 16 MB of float32, and 32 MB as drawn. All those of a million queries would take 4 GB."""

RECALL_AT = (1, 5, 10, 50, 100)


@dataclass(frozen=True, eq=False)
class Ranked:
    """For each of Q queries: where the truth came, and what came first."""

    rank: np.ndarray
    """(Q,) int64, 1 is best."""
    true_score: np.ndarray
    """(Q,) float32 similarity with the truth."""
    best: np.ndarray
    """(Q,) int64 candidate that came first."""
    best_score: np.ndarray
    """(Q,) float32 similarity with that candidate."""


class Figure(NamedTuple):
    """One figure with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    queries: int


# ---------------------------------------------------------------- ranks
def ranks(
    queries: np.ndarray,
    candidates: np.ndarray,
    truth: np.ndarray,
    *,
    offset: np.ndarray | None = None,
    block: int = BLOCK,
) -> Ranked:
    """Rank of candidate ``truth[i]`` for query i: the number of candidates that score as high as it or higher.

    So ties count against the model, and so does a similarity that is not a number.

    Args:
        queries: (Q, D) unit rows.
        candidates: (C, D) unit rows.
        truth: (Q,) row of the right candidate.
        offset: (C,) is added to each candidate's similarities; None for nothing.
        block: Similarities held at a time; Q x C are never held together.
    """
    step = max(1, block // max(1, len(candidates)))
    added = np.zeros(len(candidates), np.float32) if offset is None else offset
    parts = [
        _ranks_of_block(queries[i : i + step] @ candidates.T + added, truth[i : i + step])
        for i in range(0, len(queries), step)
    ]
    if not parts:
        nothing = np.zeros(0, dtype=np.int64)
        return Ranked(nothing, nothing.astype(np.float32), nothing, nothing.astype(np.float32))
    return Ranked(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _ranks_of_block(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, ...]:
    row = np.arange(len(scores))
    true_score, best = scores[row, truth], scores.argmax(axis=1)
    # "Not lower" instead of "higher or equal": the two differ where a score is not a number.
    rank = scores.shape[1] - np.count_nonzero(scores < true_score[:, None] - TIE, axis=1)
    return rank, true_score, best, scores[row, best]


def both_ways(left: np.ndarray, right: np.ndarray, *, block: int = BLOCK) -> tuple[Ranked, Ranked]:
    """Row i on the left and row i on the right are each other's truth: both directions from one product.

    The ranks are those of ``ranks`` with the left as queries, and with the right as queries.

    Args:
        left: (N, D) unit rows.
        right: (N, D) unit rows.
        block: Similarities held at a time; N x N are never held together.
    """
    count, true = len(left), np.einsum("nd,nd->n", left, right)
    forth, back = _last_of(true), _last_of(true)
    step = max(1, block // max(1, count))
    for start in range(0, count, step):
        rows = slice(start, start + step)
        scores = left[rows] @ right.T  # (rows, N)
        forth.rank[rows] -= np.count_nonzero(scores < true[rows, None] - TIE, axis=1)
        back.rank[:] -= np.count_nonzero(scores < true - TIE, axis=0)
        forth.best[rows] = scores.argmax(axis=1)
        forth.best_score[rows] = scores.max(axis=1)
        high = scores.max(axis=0)
        higher = np.flatnonzero(~(high <= back.best_score))  # few after the first blocks, and argmax is slow here
        back.best[higher], back.best_score[higher] = start + scores[:, higher].argmax(axis=0), high[higher]
    return forth, back


def _last_of(true: np.ndarray) -> Ranked:
    """What is known before any similarity was seen: every truth comes last."""
    count = len(true)
    return Ranked(np.full(count, count), true, np.zeros(count, np.int64), np.full(count, -np.inf, np.float32))


def picture_retrieval(
    entities: np.ndarray, pictures: np.ndarray, truth: np.ndarray, *, block: int = BLOCK
) -> pd.DataFrame:
    """Every entity that has pictures, as a query for them among all pictures.

    Ties count against the model: a picture of another entity with the same similarity comes first.

    Args:
        entities: (M, D) unit rows.
        pictures: (P, D) unit rows.
        truth: (P,) row of the entity that each picture shows.
        block: Similarities held at a time.

    Returns:
        One row per entity, its index the entity's row: ``mAP`` (average precision) and ``P@10`` (share of its
        pictures among the first ten, so an entity with five pictures reaches 50 at most), in percent.
    """
    rank = pd.Series(ranks(entities[truth], pictures, np.arange(len(pictures)), block=block).rank)
    of_entity = rank.groupby(truth)
    nth = of_entity.rank("first")  # 1 for the entity's best picture, 2 for its second ...
    position = rank - of_entity.rank("max") + nth  # others that score as high or higher, plus its own up to here
    per_picture = pd.DataFrame({"mAP": 100 * nth / position, "P@10": 10.0 * (position <= 10)})
    per_entity = per_picture.groupby(truth).agg({"mAP": "mean", "P@10": "sum"})
    return per_entity.rename_axis("row")


# ---------------------------------------------------------------- figures
def rank_figures(ranks: np.ndarray, groups: np.ndarray, *, candidates: int, seed: int) -> list[Figure]:
    """R@K in percent for each K that says something, mean and median rank.

    Args:
        ranks: (Q,) rank of the truth.
        groups: (Q,) what is resampled together, see ``resamples``; with a single group, every query for itself.
        candidates: How many there were to choose from; R@50 and R@100 are left out when all of them would count.
        seed: Of the bootstrap.
    """
    at = [k for k in RECALL_AT if k <= 10 or k < candidates]
    values = {f"R@{k}": 100.0 * (ranks <= k) for k in at} | {"mean_rank": ranks.astype(np.float64)}
    codes, order = _codes(groups), np.argsort(ranks, kind="stable")
    sums, means, medians = _sums(values, codes), [], []
    for weights in resamples(codes, seed=seed):
        means.append(_means(sums, weights))
        medians.append(_medians(ranks[order], codes[order], weights))
    low, high = np.percentile(np.concatenate(medians), (2.5, 97.5))
    median = Figure("median_rank", float(np.median(ranks)), float(low), float(high), len(ranks))
    return [*_figures(values, np.concatenate(means)), median]


def mean_figures(values: dict[str, np.ndarray], groups: np.ndarray, *, seed: int) -> list[Figure]:
    """The mean of each (Q,) array in ``values``, by name; ``groups`` as in ``rank_figures``."""
    codes = _codes(groups)
    sums = _sums(values, codes)
    return _figures(values, np.concatenate([_means(sums, weights) for weights in resamples(codes, seed=seed)]))


def subset_means(values: np.ndarray, members: np.ndarray, groups: np.ndarray, *, seed: int) -> np.ndarray:
    """Means of S overlapping subsets of the queries over the same resamples, so that they can be tested together.

    Args:
        values: (Q,) one value for each query.
        members: (Q, S) bool, which queries are in which subset.
        groups: (Q,) as in ``rank_figures``.
        seed: Of the bootstrap.

    Returns:
        (draws, S) float32; nan where a resample holds no query of the subset.
    """
    codes = _codes(groups)
    columns = [np.bincount(codes[inside], values[inside], minlength=codes.max() + 1) for inside in members.T]
    counts = [np.bincount(codes[inside], minlength=codes.max() + 1) for inside in members.T]
    sums, sizes = (np.stack(parts, axis=1).astype(np.float32) for parts in (columns, counts))
    with np.errstate(invalid="ignore"):
        return np.concatenate([(weights @ sums) / (weights @ sizes) for weights in resamples(codes, seed=seed)])


def resamples(codes: np.ndarray, *, seed: int, draws: int = DRAWS) -> Iterator[np.ndarray]:
    """Bootstrap weights, a few draws at a time: (some, G) float32, how often each of G groups was drawn.

    Whole groups are drawn, since queries of one entity succeed or fail together: drawing them one by one
    would make the intervals of a catalogue too narrow.
    No resample can show what never happened: a recall of 0 or 100 gets an interval of no width.
    """
    rng, count = np.random.default_rng(seed), int(codes.max()) + 1
    step = max(1, WEIGHTS // count)
    for start in range(0, draws, step):
        some = min(step, draws - start)
        drawn = rng.integers(count, size=(some, count)) + count * np.arange(some)[:, None]
        yield np.bincount(drawn.ravel(), minlength=some * count).reshape(some, count).astype(np.float32)


def _codes(groups: np.ndarray) -> np.ndarray:
    """(Q,) number of each query's group, from 0; where there is only one group, every query is one."""
    codes, names = pd.factorize(groups)
    return codes if len(names) > 1 else np.arange(len(groups))


def _sums(values: dict[str, np.ndarray], codes: np.ndarray) -> np.ndarray:
    """(G, figures + 1) sum of each group's values, and last how many they are."""
    columns = [np.bincount(codes, v) for v in values.values()]
    return np.stack([*columns, np.bincount(codes)], axis=1).astype(np.float32)


def _means(sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(draws, figures) mean of each resample."""
    drawn = weights @ sums
    return drawn[:, :-1] / drawn[:, -1:]


def _figures(values: dict[str, np.ndarray], means: np.ndarray) -> list[Figure]:
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    named = enumerate(values.items())
    return [Figure(name, float(v.mean()), float(low[i]), float(high[i]), len(v)) for i, (name, v) in named]


def _medians(ordered: np.ndarray, group: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(draws,) medians: the middle of the sorted values, each counted as often as its group was drawn."""
    medians = np.empty(len(weights))
    for i, weight in enumerate(weights):
        upto = np.cumsum(weight[group].astype(np.int64))
        middle = np.searchsorted(upto, [(upto[-1] - 1) // 2, upto[-1] // 2], side="right")
        medians[i] = ordered[middle].mean()
    return medians
