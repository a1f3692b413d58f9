"""Calibration on validation pictures: how much the explanation weighs, and from which confidence on a tag is trusted.

Both go onto the checkpoint card, so that evaluation and service decide by the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from entityclip.checkpoint import LoadedModel
from entityclip.index import DEFAULT_MIX, EntityIndex, PictureIndex
from entityclip.layout import DataLayout
from entityclip.metrics import BLOCK
from entityclip.records import SLICES, Split
from entityclip.vectors import best, shares

WEIGHTS = np.linspace(0, 1, 11, dtype=np.float32)
"""Weights of the explanation that are tried."""

SHARPER = 2.0
"""The mix is judged by a softmax this much sharper than training's: near to recall@1, and yet smooth, so that
the choice does not hang on a handful of pictures that just tip over."""

SHORTFALL = 4.0
"""So much heavier than its gain weighs what a slice loses to the better one of the single indexes."""

TAGS = 5
"""Tags a picture gets unless the caller says otherwise; thresholds are calibrated on as many."""

PRECISION = 0.9
"""Target precision unless the caller says otherwise."""

PRECISIONS = (0.8, 0.9, 0.95, 0.99)
"""Target precisions that get a threshold, where the validation pictures can prove one."""

Z = 1.96
"""Of the Wilson interval whose lower end has to reach the target: 95 %, two-sided."""

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
    mix = calibrate_mix(entities, pictures, scale=model.scale)
    return mix, calibrate_thresholds(entities.remixed(mix), pictures, scale=model.scale)


# ---------------------------------------------------------------- mix
def calibrate_mix(entities: EntityIndex, pictures: PictureIndex, *, scale: float) -> dict[str, float]:
    """Slice -> weight of the explanation in the mixed index, by the softened recall@1 of ``pictures``.

    The mean of the slices' recalls is maximised, one weight at a time until none can be bettered, starting from the
    better one of the single indexes; a slice's shortfall against the better single index weighs ``SHORTFALL`` times.
    Entities of all slices compete for every picture: without that, a slice's recall is bought with the others'.
    A slice without pictures keeps its default. The optimum is optimistic: report recall on another split.
    """
    truth = entities.rows_of(pictures.rows["entity_id"])
    number = entities.rows["slice"].map({name: i for i, name in enumerate(SLICES)}).to_numpy()
    asked = [np.flatnonzero(number[truth] == i) for i in range(len(SLICES))]
    free = [i for i, rows in enumerate(asked) if len(rows)]
    if not free:
        return dict(DEFAULT_MIX)
    true, rivals = odds_by_weight(entities, pictures.vectors, truth=truth, number=number, scale=SHARPER * scale)

    def recalls(choice: list[int]) -> np.ndarray:
        against = np.sum([rivals[i, w] for i, w in enumerate(choice)], axis=0)
        right = [true[choice[i], asked[i]] / (true[choice[i], asked[i]] + against[asked[i]]) for i in free]
        return np.array([part.mean() for part in right])

    caption, explanation = ([w] * len(SLICES) for w in (0, len(WEIGHTS) - 1))
    single = np.maximum(recalls(caption), recalls(explanation))

    def worth(choice: list[int]) -> float:
        reached = recalls(choice)
        return float(np.mean(reached - SHORTFALL * np.maximum(0, single - reached)))

    default = [int(np.argmin(np.abs(WEIGHTS - DEFAULT_MIX[name]))) for name in SLICES]
    starts = [[start[i] if i in free else default[i] for i in range(len(SLICES))] for start in (explanation, caption)]
    choice = _ascended(max(starts, key=worth), worth, free=free)
    return {name: round(float(WEIGHTS[w]), 3) for name, w in zip(SLICES, choice, strict=True)}


def _ascended(choice: list[int], worth: Callable[[list[int]], float], *, free: list[int]) -> list[int]:
    """``choice`` after no single change among ``free`` betters its ``worth``; it stays where nothing is gained."""
    before: list[int] = []
    while choice != before:
        before = choice
        for i in free:
            tried = [choice, *([*choice[:i], w, *choice[i + 1 :]] for w in range(len(WEIGHTS)))]
            choice = max(tried, key=worth)
    return choice


def odds_by_weight(
    entities: EntityIndex, queries: np.ndarray, *, truth: np.ndarray, number: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """What every choice of weights can be judged by, without a product per choice.

    Args:
        entities: M entities.
        queries: (Q, D) pictures.
        truth: (Q,) row of the right entity.
        number: (M,) slice of each entity.
        scale: What similarities are multiplied by.

    Returns:
        (W, Q) odds of the right entity, (slices, W, Q) summed odds of each slice's wrong ones, to the same base.
    """
    caption, explanation = entities.vectors["caption"], entities.vectors["explanation"]
    true = np.empty((len(WEIGHTS), len(queries)))
    rivals = np.zeros((len(SLICES), *true.shape))
    step = max(1, BLOCK // (8 * len(caption)))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        by_caption, by_explanation = queries[part] @ caption.T, queries[part] @ explanation.T
        # No mean of the two exceeds the higher one.
        highest = np.maximum(by_caption, by_explanation).max(axis=1, keepdims=True).astype(np.float64)
        row = np.arange(len(by_caption))
        for w, weight in enumerate(WEIGHTS):
            odds = np.exp(scale * ((1 - weight) * by_caption + weight * by_explanation - highest))
            true[w, part] = odds[row, truth[part]]
            odds[row, truth[part]] = 0
            for i in np.unique(number):
                rivals[i, w, part] = odds[:, number == i].sum(axis=1)
    return true, rivals


# ---------------------------------------------------------------- thresholds
def calibrate_thresholds(
    entities: EntityIndex,
    pictures: PictureIndex,
    *,
    scale: float,
    precisions: tuple[float, ...] = PRECISIONS,
) -> dict[str, float]:
    """Target precision -> least confidence from which on tags are right that often.

    Counted are the ``TAGS`` best entities of every picture, by the mixed index, since those are what a caller sees.
    A few tags that happen to be right prove nothing: the lower end of the precision's interval has to reach the
    target. A target that the pictures cannot prove is left out, and no tag is trusted then; 0.99 takes 381 tags
    without one mistake.
    """
    truth = entities.rows_of(pictures.rows["entity_id"])
    confidences, right = [np.zeros(0)], [np.zeros(0, dtype=bool)]
    for picture, row in zip(pictures.vectors, truth, strict=True):
        similarities = entities.vectors["mixed"] @ picture
        rows = best(similarities, k=TAGS)
        confidences.append(shares(similarities, scale=scale)[rows])
        right.append(rows == row)
    confidence, is_right = np.concatenate(confidences), np.concatenate(right)
    order = np.argsort(-confidence, kind="stable")
    confidence, counts = confidence[order], np.arange(1, len(order) + 1)
    proven = proven_share(np.cumsum(is_right[order]), counts)
    # Equal tags pass a threshold together, so that only the last of them can be one.
    last = np.append(confidence[1:] < confidence[:-1], True)[: len(confidence)]
    reached = {p: np.flatnonzero(last & (proven >= p)) for p in precisions}
    return {str(p): float(confidence[found[-1]]) for p, found in reached.items() if len(found)}


def proven_share(right: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Lower end of the Wilson score interval of ``right`` among ``counts``, each (N,)."""
    share, z2 = right / counts, Z * Z
    spread = Z * np.sqrt(share * (1 - share) / counts + z2 / (4 * counts**2))
    return (share + z2 / (2 * counts) - spread) / (1 + z2 / counts)
