"""Whether a tag is accepted although the picture may show none of the entities.

A confidence is a share among the entities of the catalogue, and one of them always has the largest. The open-set rule
also weighs how similar the tagged entity is at all, how far the next one is behind, and how similar its photographs
are. It stands beside the threshold of the confidence and accepts nothing that the threshold refuses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from entityclip.retrieval.index import EntityIndex
from entityclip.retrieval.index.mixture import GROUPS, groups_of
from entityclip.retrieval.vectors import best, shares
from entityclip.schemas import OpenSetRule, OpenSetTarget

FEATURES = ("cosine", "margin", "photographs", "without_photographs")
"""What the rule weighs, in the order of the columns."""


def tag_features(similarities: np.ndarray, rows: np.ndarray, photographs: np.ndarray) -> np.ndarray:
    """``FEATURES`` of some tags of one picture.

    Args:
        similarities: (M,) of the picture with each entity in the mixed index.
        rows: (k,) the tagged entities.
        photographs: (k, D) product of the picture with the mean of each one's photographs; nan where it has none.

    Returns:
        (k, 4) float64.
    """
    first = best(similarities, k=2)
    highest, second = similarities[first[0]], similarities[first[-1]] if len(first) > 1 else -1.0
    rival = np.where(rows == first[0], second, highest)
    rival = np.where(np.isfinite(rival), rival, -1.0)
    missing = np.isnan(photographs)
    cosine = similarities[rows]
    return np.stack([cosine, cosine - rival, np.where(missing, 0, photographs), missing], axis=1).astype(np.float64)


def scores(rule: OpenSetRule, features: np.ndarray) -> np.ndarray:
    """(N, 4) ``FEATURES`` -> (N,) scores, 0 to 1."""
    weights = np.array([getattr(rule, name) for name in FEATURES])
    return 1 / (1 + np.exp(-np.clip(features @ weights + rule.intercept, -60, 60)))


def accepted(target: OpenSetTarget, score: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(N,) whether tags with these scores, of entities of these ``groups`` (numbers in ``GROUPS``), are accepted."""
    least = np.array([target.thresholds.get(group, np.inf) for group in GROUPS])
    return score >= least[groups]


@dataclass(frozen=True, eq=False)
class FirstTags:
    """The first tag of each of Q pictures."""

    row: np.ndarray
    """(Q,) the tagged entity."""
    group: np.ndarray
    """(Q,) its group, a number in ``GROUPS``."""
    confidence: np.ndarray
    """(Q,)"""
    features: np.ndarray
    """(Q, 4) ``FEATURES``."""


def first_tags(
    entities: EntityIndex, pictures: np.ndarray, *, scale: float, left_out: np.ndarray | None = None
) -> FirstTags:
    """What ``tag`` would answer first.

    Args:
        entities: The catalogue.
        pictures: (Q, D) unit vectors.
        scale: Of the confidences.
        left_out: (Q,) row that is not in the catalogue while the picture is tagged: its own entity, so that the picture
            shows something unknown. None: all are.
    """
    pictured, images = entities.pictured, entities.vectors["images"]
    rows = np.zeros(len(pictures), np.int64)
    confidence, features = np.zeros(len(pictures)), np.zeros((len(pictures), len(FEATURES)))
    for i, picture in enumerate(pictures):
        similarities = entities.similarities(picture, "mixed")
        if left_out is not None:
            similarities[left_out[i]] = -np.inf
        first = best(similarities, k=1)
        photographs = np.where(pictured[first], images[first] @ picture, np.nan)
        rows[i], confidence[i] = first[0], shares(similarities, scale=scale)[first[0]]
        features[i] = tag_features(similarities, first, photographs)[0]
    return FirstTags(rows, groups_of(entities.rows)[rows], confidence, features)
