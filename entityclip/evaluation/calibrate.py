"""Calibration on validation pictures: how the mixed index is mixed, and from which confidence on a tag is trusted.

All go onto the checkpoint card, so that evaluation and service decide by the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from entityclip.model.checkpoint import LoadedModel
from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.paths import DataLayout
from entityclip.retrieval.index import DEFAULT_MIX, EntityIndex, PictureIndex
from entityclip.retrieval.metrics import BLOCK
from entityclip.retrieval.tagging import PRECISIONS, TAGS
from entityclip.retrieval.vectors import best, shares
from entityclip.schemas import SLICES, Split

WEIGHTS = np.linspace(0, 1, 11, dtype=np.float32)
"""Weights of the explanation that are tried."""

LENGTHS = np.linspace(0.97, 1.06, 10, dtype=np.float32)
"""Lengths to which the mean of caption and explanation is stretched that are tried."""

CHOICES = np.array(list(product(WEIGHTS, LENGTHS)), dtype=np.float32)
"""(110, 2) both together."""

SHARPER = 4.0
"""The mix is judged by a softmax this much sharper than training's: near to recall@1, and yet smooth, so that
the choice does not hang on a handful of pictures that just tip over."""

SHORTFALL = 4.0
"""So much heavier than its gain weighs what a slice loses to the better one of the single indexes."""

Z = 1.96
"""Of the Wilson interval whose lower end has to reach the target: 95 %, two-sided."""

PICTURES = 5000
"""Pictures that calibration looks at, at most: more would cost time and move nothing."""

COMPARISONS = 10**7
"""Pictures times entities that the mix is judged by, about: each is compared with every choice."""


def calibrate(model: LoadedModel, data: DataLayout, *, split: Split = "val", progress: bool = False) -> CheckpointCard:
    """The model's card with ``mix``, ``slice_scale`` and ``thresholds``, from one embedding of the split's pictures.

    A split without pictures gives the default mix, a scale of 1 and no thresholds.

    Raises:
        DataError: The data are incomplete.
    """
    entities = EntityIndex.build(model, data, progress=progress)
    pictures = PictureIndex.build(model, data, split=split, most=PICTURES, progress=progress)
    entities = calibrate_index(entities, pictures, scale=model.scale)
    thresholds = calibrate_thresholds(entities, pictures, scale=model.scale)
    found = {"mix": entities.mix, "slice_scale": entities.slice_scale, "thresholds": thresholds}
    return model.card.model_copy(update=found)


def calibrate_index(entities: EntityIndex, pictures: PictureIndex, *, scale: float) -> EntityIndex:
    """The index with the mix and the slice scales that serve ``pictures`` best."""
    mix, slice_scale = calibrate_mix(entities, pictures, scale=scale)
    return entities.remixed(mix, slice_scale=slice_scale)


# ---------------------------------------------------------------- mix
def calibrate_mix(
    entities: EntityIndex, pictures: PictureIndex, *, scale: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Slice -> weight of the explanation, and -> length, in the mixed index, by the softened recall@1 of ``pictures``.

    The mean of the slices' recalls is maximised, one slice's choice at a time until none can be bettered, starting
    from the better one of the single indexes; a slice's shortfall against the better single index weighs ``SHORTFALL``
    times. Entities of all slices compete for every picture: without that, a slice's recall is bought with the others'.
    A slice without pictures keeps its default. The optimum is optimistic: report recall on another split.

    Lengths differ because training pulls every picture to the texts of its own entity. One that it never saw is left
    behind: its text may describe a picture best, and yet comes second to the text of a sibling that was photographed
    (calibrated stacking; Chao et al., arXiv 1605.04253, who subtract from the seen classes).
    """
    pictures = _some(pictures, most=max(PICTURES // 10, COMPARISONS // len(entities.rows)))
    truth = entities.rows_of(pictures.rows["entity_id"])
    number = entities.rows["slice"].map({name: i for i, name in enumerate(SLICES)}).to_numpy()
    of_slice = [np.flatnonzero(number[truth] == i) for i in range(len(SLICES))]
    free = [i for i, rows in enumerate(of_slice) if len(rows)]
    if not free:
        return dict(DEFAULT_MIX), {}
    true, rivals = likelihood_grid(
        mixed_similarities(entities, pictures.vectors), truth=truth, number=number, scale=SHARPER * scale
    )

    def recalls(choice: list[int]) -> np.ndarray:
        against = np.sum([rivals[i, c] for i, c in enumerate(choice)], axis=0)
        right = [true[choice[i], of_slice[i]] / (true[choice[i], of_slice[i]] + against[of_slice[i]]) for i in free]
        return np.array([part.mean() for part in right])

    caption, explanation = ([_choice(weight)] * len(SLICES) for weight in (0, 1))
    single = np.maximum(recalls(caption), recalls(explanation))

    def worth(choice: list[int]) -> float:
        reached = recalls(choice)
        return float(np.mean(reached - SHORTFALL * np.maximum(0, single - reached)))

    default = [_choice(DEFAULT_MIX[name]) for name in SLICES]
    starts = [[start[i] if i in free else default[i] for i in range(len(SLICES))] for start in (explanation, caption)]
    found = CHOICES[_ascended(max(starts, key=worth), worth, free=free)]
    by_slice = (dict(zip(SLICES, (round(float(x), 3) for x in column), strict=True)) for column in found.T)
    mix, slice_scale = by_slice
    return mix, slice_scale


def _some(pictures: PictureIndex, *, most: int) -> PictureIndex:
    """Every n-th picture, so that there are about ``most`` of them."""
    each = slice(None, None, max(1, len(pictures.rows) // most))
    return PictureIndex(pictures.fingerprint, pictures.rows[each].reset_index(drop=True), pictures.vectors[each])


def _choice(weight: float) -> int:
    """Number of the choice of this weight and length 1."""
    return int(np.argmin(np.abs(CHOICES - (weight, 1)).sum(axis=1)))


def mixed_similarities(entities: EntityIndex, queries: np.ndarray) -> Callable[[slice], np.ndarray]:
    """For ``likelihood_grid``: (Q, D) pictures against the entities, by each of ``CHOICES``."""
    weights, lengths = CHOICES.T[:, :, None, None]

    def similarities(part: slice) -> np.ndarray:
        by_caption, by_explanation = (queries[part] @ entities.vectors[kind].T for kind in ("caption", "explanation"))
        return lengths * ((1 - weights) * by_caption + weights * by_explanation)

    return similarities


def _ascended(choice: list[int], worth: Callable[[list[int]], float], *, free: list[int]) -> list[int]:
    """``choice`` after no single change among ``free`` betters its ``worth``; it stays where nothing is gained."""
    before: list[int] = []
    while choice != before:
        before = choice
        for i in free:
            tried = [choice, *([*choice[:i], c, *choice[i + 1 :]] for c in range(len(CHOICES)))]
            choice = max(tried, key=worth)
    return choice


def likelihood_grid(
    similarities: Callable[[slice], np.ndarray], *, truth: np.ndarray, number: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """What every choice of one option a slice can be judged by, without a product per choice.

    Args:
        similarities: Given some of the queries, (options, B, M): theirs to all entities, by each option.
        truth: (Q,) row of the right entity.
        number: (M,) slice of each entity.
        scale: What similarities are multiplied by.

    Returns:
        (options, Q) odds of the right entity, (slices, options, Q) summed odds of each slice's wrong ones, to the same
        base.
    """
    options = len(similarities(slice(0, 1)))
    true = np.empty((options, len(truth)))
    rivals = np.zeros((len(SLICES), *true.shape))
    step = max(1, BLOCK // (8 * options * len(number)))
    for start in range(0, len(truth), step):
        part = slice(start, start + step)
        tried = similarities(part).astype(np.float64)
        row, base = np.arange(tried.shape[1]), tried.max(axis=(0, 2))[:, None]
        for c, each in enumerate(tried):
            odds = np.exp(scale * (each - base))
            true[c, part] = odds[row, truth[part]]
            odds[row, truth[part]] = 0
            for i in np.unique(number):
                rivals[i, c, part] = odds[:, number == i].sum(axis=1)
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
