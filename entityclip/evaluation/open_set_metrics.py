"""How well tags distinguish known pictures from unknown ones, and what the card's targets come to on other pictures.

Every picture is tagged twice: with its own entity in the catalogue, and with that left out. All figures are in percent,
of the whole set and by slice of the tagged entity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from entityclip.evaluation.open_set_calibration import TaggedPictures
from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.retrieval import metrics, tagging
from entityclip.retrieval.index.mixture import GROUPS
from entityclip.retrieval.open_set import accepted, scores
from entityclip.schemas import SLICES, Metric

UNKNOWN_SHARE = 0.2
"""Share of unknown pictures for which ``precision_with_unknown`` is stated."""

RECALL = 0.95
"""Share of right tags for which the false-positive rate is stated."""

DRAWS = 200
"""Bootstrap resamples of the entities."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""(D, N) how often each picture counts in each of D resamples -> (D,) the figure; nan where nothing counts."""


def tag_scores(tagged: TaggedPictures, card: CheckpointCard) -> np.ndarray:
    """(N,) what ranks the tags: scores of the open-set rule, or confidences where the card has none."""
    return tagged.confidence if card.open_set is None else scores(card.open_set, tagged.features)


def sure(tagged: TaggedPictures, card: CheckpointCard, *, precision: float) -> np.ndarray:
    """(N,) whether the first tag is marked ``above_threshold`` at this target precision."""
    bar = tagging.bar_of(card, precision)
    confident = tagged.confidence >= bar.confidence
    if card.open_set is None:
        return confident
    if bar.open_set is None:
        return np.zeros_like(confident)
    return confident & accepted(bar.open_set, tag_scores(tagged, card), tagged.group)


@dataclass(frozen=True, eq=False)
class MarkedPictures:
    """N tagged pictures, with what a card makes of their tags."""

    tagged: TaggedPictures
    ranked: np.ndarray
    """(N,) ``tag_scores``."""
    sure: dict[float, np.ndarray]
    """Target precision -> (N,) ``sure``."""

    @classmethod
    def of(cls, tagged: TaggedPictures, card: CheckpointCard) -> MarkedPictures:
        """The pictures by the thresholds of ``card``."""
        return cls(tagged, tag_scores(tagged, card), {p: sure(tagged, card, precision=p) for p in tagging.PRECISIONS})

    @classmethod
    def joined(cls, parts: Sequence[MarkedPictures]) -> MarkedPictures:
        """All pictures of some sets, each marked by a card of its own."""
        return cls(
            TaggedPictures.joined(part.tagged for part in parts),
            np.concatenate([part.ranked for part in parts]),
            {p: np.concatenate([part.sure[p] for part in parts]) for p in tagging.PRECISIONS},
        )


def open_set_metrics(pictures: MarkedPictures, *, fewest: int, seed: int) -> Iterator[Metric]:
    """AUROC, false positives at 95 % recall, and false accepts, coverage and precision at each target.

    Args:
        pictures: Those of an evaluation set.
        fewest: A slice needs so many known and so many unknown pictures.
        seed: Of the bootstrap, which resamples entities.
    """
    tagged, ranked = pictures.tagged, pictures.ranked
    for name in ("all", *SLICES):
        its = np.flatnonzero((tagged.group == GROUPS.index(name)) if name != "all" else np.ones(len(ranked), bool))
        part = tagged.chosen(its)
        if min(np.count_nonzero(part.unknown), np.count_nonzero(~part.unknown)) < fewest:
            continue
        where = {"index": "mixed", "direction": "image_to_text", "slice": name}
        for figure in _figures(part, ranked[its], {p: marked[its] for p, marked in pictures.sure.items()}, seed=seed):
            yield Metric.model_validate(where | figure._asdict())


def _figures(
    tagged: TaggedPictures, ranked: np.ndarray, marked: dict[float, np.ndarray], *, seed: int
) -> Iterator[metrics.Figure]:
    """Each figure, with its interval and the number of pictures that it is about."""
    right, unknown = tagged.right, tagged.unknown
    known = ~unknown
    figures: list[tuple[str, np.ndarray, Statistic]] = []
    if right.any():
        labelled = right | unknown
        for name, at in (("auroc", _area), ("fpr95", _false_positives)):
            figures.append((name, labelled, partial(at, right=right, ranked=ranked, labelled=labelled)))
    for precision, is_sure in marked.items():
        figures.append((f"false_accept_at_{precision}", unknown, partial(_share, is_sure & unknown, unknown)))
        figures.append((f"coverage_at_{precision}", known, partial(_share, is_sure & right, known)))
        if (is_sure & known).any():
            right_among = partial(_share, is_sure & right, is_sure & known)
            mixed = partial(_mixed_precision, right=right, unknown=unknown, is_sure=is_sure)
            figures.append((f"precision_at_{precision}", is_sure & known, right_among))
            figures.append((f"precision_with_unknown_at_{precision}", is_sure, mixed))
    codes = pd.factorize(tagged.entity)[0]
    drawn: list[list[np.ndarray]] = [[] for _ in figures]
    some = max(1, metrics.WEIGHTS // len(codes))  # resamples at a time
    for weights in metrics.resamples(codes, seed=seed, draws=DRAWS):
        for first in range(0, len(weights), some):
            counts = weights[first : first + some, codes].astype(np.float64)
            for values, (_, _, statistic) in zip(drawn, figures, strict=True):
                values.append(statistic(counts))
    for values, (name, counted, statistic) in zip(drawn, figures, strict=True):
        low, high = np.nanpercentile(np.concatenate(values), (2.5, 97.5))
        value = float(statistic(np.ones((1, len(codes))))[0])
        yield metrics.Figure(name, value, float(low), float(high), int(np.count_nonzero(counted)))


def _share(some: np.ndarray, among: np.ndarray, weights: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return 100 * (weights @ some) / (weights @ among)


def _mixed_precision(weights: np.ndarray, *, right: np.ndarray, unknown: np.ndarray, is_sure: np.ndarray) -> np.ndarray:
    """Precision where ``UNKNOWN_SHARE`` of the pictures are unknown ones."""
    of_unknown = UNKNOWN_SHARE / np.maximum(weights @ unknown, 1)
    of_known = (1 - UNKNOWN_SHARE) / np.maximum(weights @ ~unknown, 1)
    each = np.where(unknown, of_unknown[:, None], of_known[:, None])
    return _share(is_sure & right, is_sure, weights * each)


def _rates(
    weights: np.ndarray, right: np.ndarray, ranked: np.ndarray, labelled: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The ROC curves: (D, thresholds + 1) false-positive and true-positive rates, from the highest threshold on."""
    order = np.flatnonzero(labelled)[np.argsort(-ranked[labelled], kind="stable")]
    last = np.append(np.flatnonzero(np.diff(ranked[order])), len(order) - 1)  # of the pictures at each threshold
    true = np.cumsum(weights[:, order] * right[order], axis=1)[:, last]
    false = np.cumsum(weights[:, order] * ~right[order], axis=1)[:, last]
    begin = np.zeros((len(weights), 1))
    with np.errstate(invalid="ignore"):
        return np.hstack([begin, false / false[:, -1:]]), np.hstack([begin, true / true[:, -1:]])


def _area(weights: np.ndarray, *, right: np.ndarray, ranked: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Area under the curve of right tags against those of unknown pictures."""
    false, true = _rates(weights, right, ranked, labelled)
    return 100 * np.trapezoid(true, false, axis=1)


def _false_positives(weights: np.ndarray, *, right: np.ndarray, ranked: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Share of unknown pictures whose tag ranks as high as ``RECALL`` of the right tags."""
    false, true = _rates(weights, right, ranked, labelled)
    first = (true >= RECALL).argmax(axis=1)
    return 100 * np.take_along_axis(false, first[:, None], axis=1)[:, 0]
