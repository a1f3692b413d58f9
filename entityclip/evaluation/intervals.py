"""Shares that are proven: lower ends of 95 % intervals, by count and by entity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from entityclip.retrieval.metrics import resamples

Z = 1.96
"""Of the Wilson interval: 95 %, two-sided."""

DRAWS = 300
"""Bootstrap resamples of the entities."""

Counted = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(Q,) how often each picture counts -> (N,) how many are right, and (N,) among how many, at each of N thresholds."""


def proven_share(right: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Lower end of the Wilson score interval of ``right`` among ``counts``, each (N,)."""
    share, z2 = right / counts, Z * Z
    spread = Z * np.sqrt(share * (1 - share) / counts + z2 / (4 * counts**2))
    return (share + z2 / (2 * counts) - spread) / (1 + z2 / counts)


def proven_by_entity(counted: Counted, entity: np.ndarray) -> np.ndarray:
    """(N,) lower ends of the shares that ``counted`` gives for pictures of these entities (Q,).

    Pictures of one entity succeed or fail together, so that the share has to hold when whole entities are resampled;
    and by the Wilson interval too, since no resample shows a failure that never happened.
    """
    codes = np.unique(entity, return_inverse=True)[1]
    shares = []
    for weights in resamples(codes, seed=0, draws=DRAWS):
        for drawn in weights:
            right, among = counted(drawn[codes])
            shares.append(right / np.maximum(among, 1e-9))
    right, among = counted(np.ones(len(codes)))
    return np.minimum(np.percentile(shares, 2.5, axis=0), proven_share(right, np.maximum(among, 1e-9)))
