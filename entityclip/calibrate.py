"""Calibration on validation pictures: how much the explanation weighs, and from which score on a tag is trusted.

Both go onto the checkpoint card, so that evaluation and service decide by the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from entityclip.checkpoint import LoadedModel
from entityclip.index import DEFAULT_MIX, EntityIndex, PictureIndex
from entityclip.layout import DataLayout
from entityclip.metrics import BLOCK, TIE
from entityclip.records import SLICES, Split
from entityclip.vectors import nearest

WEIGHTS = np.linspace(0, 1, 11, dtype=np.float32)
"""Weights of the explanation that are tried."""

TAGS = 5
"""Tags a picture gets unless the caller says otherwise; thresholds are calibrated on as many."""

PRECISIONS = (0.9,)
"""Target precisions that get a threshold."""

EVIDENCE = 10
"""Tags that a threshold must let through before it is believed."""

PICTURES = 5000
"""Pictures that calibration looks at, at most: more would cost time and move nothing."""


def calibrate(
    model: LoadedModel, data: DataLayout, *, split: Split = "val", progress: bool = False
) -> tuple[dict[str, float], dict[str, float]]:
    """``mix`` and ``thresholds`` for the checkpoint card, from one embedding of the split's pictures.

    A split without pictures gives the default mix and no thresholds.

    Raises:
        DataError: The data are incomplete.
    """
    entities = EntityIndex.build(model, data, progress=progress)
    pictures = PictureIndex.build(model, data, split=split, most=PICTURES, progress=progress)
    mix = calibrate_mix(entities, pictures)
    return mix, calibrate_thresholds(entities.remixed(mix), pictures)


# ---------------------------------------------------------------- mix
def calibrate_mix(entities: EntityIndex, pictures: PictureIndex) -> dict[str, float]:
    """Slice -> weight of the explanation in the mixed index, by recall@1 of ``pictures``.

    What is maximised is the mean of the slices' recalls, one weight at a time until none can be bettered.
    Entities of all slices compete for every picture: a slice's own recall could be bought with the others'.
    Equal recalls go to the weight nearest the default. A slice without pictures keeps its default.
    The optimum over 11 weights on few pictures is optimistic: report recall on another split.
    """
    truth = entities.rows_of(pictures.rows["entity_id"])
    number = entities.rows["slice"].map({name: i for i, name in enumerate(SLICES)}).to_numpy()
    asked = [np.flatnonzero(number[truth] == i) for i in range(len(SLICES))]
    true, rival = _scores_by_weight(entities, pictures.vectors, truth=truth, number=number)

    def recall(choice: list[int]) -> float:
        best_rival = np.max([rival[i, w] for i, w in enumerate(choice)], axis=0)
        found = [true[w] > best_rival + TIE for w in choice]
        return float(np.mean([hit[rows].mean() for hit, rows in zip(found, asked, strict=True) if len(rows)]))

    choice, before = [int(np.argmin(np.abs(WEIGHTS - DEFAULT_MIX[name]))) for name in SLICES], [-1]
    while choice != before:
        before = list(choice)
        for i in [i for i, rows in enumerate(asked) if len(rows)]:
            choice[i] = _best_weight(i, choice, recall)
    return {name: round(float(WEIGHTS[w]), 3) for name, w in zip(SLICES, choice, strict=True)}


def _best_weight(i: int, choice: list[int], recall: Callable[[list[int]], float]) -> int:
    from_default = sorted(range(len(WEIGHTS)), key=lambda w: abs(WEIGHTS[w] - DEFAULT_MIX[SLICES[i]]))
    return max(from_default, key=lambda w: recall([*choice[:i], w, *choice[i + 1 :]]))


def _scores_by_weight(
    entities: EntityIndex, queries: np.ndarray, *, truth: np.ndarray, number: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What every choice of weights can be judged by, without a product per choice.

    Args:
        entities: M entities.
        queries: (Q, D) pictures.
        truth: (Q,) row of the right entity.
        number: (M,) slice of each entity.

    Returns:
        (W, Q) similarity with the right entity, (slices, W, Q) with the best wrong one of each slice.
    """
    caption, explanation = entities.vectors["caption"], entities.vectors["explanation"]
    lengths = [np.linalg.norm((1 - w) * caption + w * explanation, axis=1).clip(1e-12) for w in WEIGHTS]
    true = np.empty((len(WEIGHTS), len(queries)), dtype=np.float32)
    rival = np.full((len(SLICES), *true.shape), -np.inf, dtype=np.float32)
    step = max(1, BLOCK // (4 * len(caption)))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        by_caption, by_explanation = queries[part] @ caption.T, queries[part] @ explanation.T
        row = np.arange(len(by_caption))
        for w, (weight, length) in enumerate(zip(WEIGHTS, lengths, strict=True)):
            scores = ((1 - weight) * by_caption + weight * by_explanation) / length
            true[w, part] = scores[row, truth[part]]
            scores[row, truth[part]] = -np.inf
            for i in np.unique(number):
                rival[i, w, part] = scores[:, number == i].max(axis=1)
    return true, rival


# ---------------------------------------------------------------- thresholds
def calibrate_thresholds(
    entities: EntityIndex, pictures: PictureIndex, *, precisions: tuple[float, ...] = PRECISIONS
) -> dict[str, float]:
    """Target precision -> least similarity from which on tags are right that often.

    Counted are the ``TAGS`` best entities of every picture, by the mixed index, since those are what a caller
    sees. A precision that is not reached by at least ``EVIDENCE`` tags is left out: then no tag is trusted.
    """
    truth = entities.rows_of(pictures.rows["entity_id"])
    found = [nearest(picture, entities.vectors["mixed"], k=TAGS) for picture in pictures.vectors]
    if not found:
        return {}
    scores = np.concatenate([s for _, s in found])
    right = np.concatenate([rows == row for (rows, _), row in zip(found, truth, strict=True)])
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], right[order]
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    # Equal scores pass a threshold together, so that only the last of them can be one.
    usable = np.append(scores[1:] < scores[:-1], True) & (np.arange(1, len(right) + 1) >= EVIDENCE)
    reached = {p: np.flatnonzero(usable & (precision >= p)) for p in precisions}
    return {str(p): float(scores[rows[-1]]) for p, rows in reached.items() if len(rows)}
