"""Retrieval metrics: pure functions from unit vectors to ranks, and from ranks to figures with intervals."""

from __future__ import annotations

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
def ranks(queries: np.ndarray, candidates: np.ndarray, truth: np.ndarray, *, block: int = BLOCK) -> Ranked:
    """Rank of candidate ``truth[i]`` for query i: the number of candidates that score as high as it or higher.

    So ties count against the model, and so does a similarity that is not a number.

    Args:
        queries: (Q, D) unit rows.
        candidates: (C, D) unit rows.
        truth: (Q,) row of the right candidate.
        block: Similarities held at a time; Q x C are never held together.
    """
    step = max(1, block // max(1, len(candidates)))
    parts = [
        _ranks_of_block(queries[i : i + step], candidates, truth[i : i + step]) for i in range(0, len(queries), step)
    ]
    if not parts:
        nothing = np.zeros(0, dtype=np.int64)
        return Ranked(nothing, nothing.astype(np.float32), nothing, nothing.astype(np.float32))
    return Ranked(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _ranks_of_block(queries: np.ndarray, candidates: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, ...]:
    scores = queries @ candidates.T  # (q, C)
    row = np.arange(len(queries))
    true_score, best = scores[row, truth], scores.argmax(axis=1)
    # "Not lower" instead of "higher or equal": the two differ where a score is not a number.
    rank = len(candidates) - np.count_nonzero(scores < true_score[:, None] - TIE, axis=1)
    return rank, true_score, best, scores[row, best]


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
        groups: (Q,) what is resampled together, see ``resamples``.
        candidates: How many there were to choose from; R@50 and R@100 are left out when all of them would count.
        seed: Of the bootstrap.
    """
    at = [k for k in RECALL_AT if k <= 10 or k < candidates]
    values = {f"R@{k}": 100.0 * (ranks <= k) for k in at} | {"mean_rank": ranks.astype(np.float64)}
    weights, codes = resamples(groups, seed=seed)
    low, high = np.percentile(_medians(ranks, codes, weights), (2.5, 97.5))
    median = Figure("median_rank", float(np.median(ranks)), float(low), float(high), len(ranks))
    return [*_means(values, codes, weights), median]


def mean_figures(values: dict[str, np.ndarray], groups: np.ndarray, *, seed: int) -> list[Figure]:
    """The mean of each (Q,) array in ``values``, by name."""
    weights, codes = resamples(groups, seed=seed)
    return _means(values, codes, weights)


def resamples(groups: np.ndarray, *, seed: int, draws: int = DRAWS) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap weights: how often each group was drawn, and which group each query belongs to.

    Whole groups are drawn, since queries of one entity succeed or fail together: drawing them one by one
    would make the intervals of a catalogue too narrow. Where there is only one group, queries are drawn.
    No resample can show what never happened: a recall of 0 or 100 gets an interval of no width.

    Returns:
        (draws, G) float32 and (Q,) int64.
    """
    codes, names = pd.factorize(groups)
    count = len(names)
    if count < 2:
        codes, count = np.arange(len(groups)), len(groups)
    rng = np.random.default_rng(seed)
    weights = np.empty((draws, count), dtype=np.float32)
    for i in range(draws):
        weights[i] = np.bincount(rng.integers(count, size=count), minlength=count)
    return weights, codes


def _means(values: dict[str, np.ndarray], codes: np.ndarray, weights: np.ndarray) -> list[Figure]:
    groups = weights.shape[1]
    sums = np.stack([np.bincount(codes, v, minlength=groups) for v in values.values()], axis=1).astype(np.float32)
    counts = np.bincount(codes, minlength=groups).astype(np.float32)
    means = (weights @ sums) / (weights @ counts)[:, None]  # (draws, figures)
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    named = enumerate(values.items())
    return [Figure(name, float(v.mean()), float(low[i]), float(high[i]), len(v)) for i, (name, v) in named]


def _medians(values: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(draws,) medians: the middle of the sorted values, each counted as often as its group was drawn."""
    order = np.argsort(values, kind="stable")
    ordered, group = values[order], codes[order]
    medians = np.empty(len(weights))
    for i, weight in enumerate(weights):
        upto = np.cumsum(weight[group].astype(np.int64))
        middle = np.searchsorted(upto, [(upto[-1] - 1) // 2, upto[-1] // 2], side="right")
        medians[i] = ordered[middle].mean()
    return medians
