"""Calibration of the open-set rule on validation pictures, each with its entity in the catalogue and left out of it.

A picture whose own entity is left out shows something unknown. Of the similarities with all entities that is one
column less, so that every validation picture is an unknown one as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.model_selection import GroupKFold  # type: ignore[import-untyped]
from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

from entityclip.evaluation.intervals import proven_by_entity
from entityclip.retrieval.index import EntityIndex
from entityclip.retrieval.index.mixture import GROUPS
from entityclip.retrieval.open_set import FEATURES, first_tags
from entityclip.schemas import OpenSetRule, OpenSetTarget

FOLDS = 5
"""Parts of the entities: the scores of a part are those of a regression on the others."""

FEWEST = 20
"""Entities without which no rule is fitted, and tags without which a group has no threshold of its own."""

RAISES = 200
"""Steps in which all thresholds are raised together, at most."""


@dataclass(frozen=True, eq=False)
class TaggedPictures:
    """The first tags of N pictures, some of which show nothing that is in the catalogue."""

    features: np.ndarray
    """(N, 4) ``FEATURES`` of the first tag."""
    confidence: np.ndarray
    """(N,)"""
    group: np.ndarray
    """(N,) group of the tagged entity, a number in ``GROUPS``."""
    right: np.ndarray
    """(N,) bool: the tag is right."""
    unknown: np.ndarray
    """(N,) bool: the picture's own entity was left out, so that no tag can be right."""
    entity: np.ndarray
    """(N,) row of the picture's own entity."""

    @classmethod
    def of(cls, entities: EntityIndex, pictures: np.ndarray, truth: np.ndarray, *, scale: float) -> TaggedPictures:
        """Pictures (Q, D) of the entities at rows ``truth`` (Q,): all of them in the catalogue, then all left out."""
        known = first_tags(entities, pictures, scale=scale)
        unknown = first_tags(entities, pictures, scale=scale, left_out=truth)
        return cls(
            features=np.concatenate([known.features, unknown.features]),
            confidence=np.concatenate([known.confidence, unknown.confidence]),
            group=np.concatenate([known.group, unknown.group]),
            right=np.concatenate([known.row == truth, np.zeros(len(truth), bool)]),
            unknown=np.repeat([False, True], len(truth)),
            entity=np.tile(truth, 2),
        )

    def chosen(self, rows: np.ndarray) -> TaggedPictures:
        """Some of them."""
        return TaggedPictures(**{name: column[rows] for name, column in vars(self).items()})

    @classmethod
    def joined(cls, parts: Iterable[TaggedPictures]) -> TaggedPictures:
        """All pictures of some sets."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


def calibrate_open_set(tagged: TaggedPictures, thresholds: Mapping[str, float]) -> OpenSetRule:
    """The rule that tells right tags from those of unknown pictures, and the least scores for each target.

    Wrong tags of known pictures are what the least confidence is for; thresholds of both are proven together.
    Thresholds are found with scores of regressions on other entities.

    Args:
        tagged: First tags of validation pictures.
        thresholds: Target precision -> least confidence; a tag below it is not accepted whatever the rule says.

    Returns:
        The rule; without targets, so that it accepts nothing, where the pictures can prove none.
    """
    labelled = np.flatnonzero(tagged.right | tagged.unknown)  # a wrong tag of a known picture is neither
    if len(np.unique(tagged.entity)) < FEWEST or tagged.right.sum() < FEWEST:
        return OpenSetRule()
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    x, y = tagged.features, tagged.right
    odds = np.zeros(len(y))
    for inside, outside in GroupKFold(FOLDS).split(x, groups=tagged.entity):
        train = np.intersect1d(inside, labelled)
        odds[outside] = regression.fit(x[train], y[train]).decision_function(x[outside])
    scaler, fitted = regression.fit(x[labelled], y[labelled]).named_steps.values()
    weights = fitted.coef_[0] / scaler.scale_
    targets = (_target(tagged, odds, precision=float(p), confidence=least) for p, least in thresholds.items())
    return OpenSetRule(
        **dict(zip(FEATURES, weights.tolist(), strict=True)),
        intercept=float(fitted.intercept_[0] - weights @ scaler.mean_),
        targets=tuple(target for target in targets if target is not None),
    )


def _target(tagged: TaggedPictures, odds: np.ndarray, *, precision: float, confidence: float) -> OpenSetTarget | None:
    """The thresholds for one target; None where nothing proves it.

    Each group has the least threshold at which its own pictures reach the target. One with too few tags to say has that
    of all pictures together; one that never reaches it has none. Then all are raised together until the intervals by
    entity, over all groups, reach the target.
    """
    rate = round(1 - precision, 6)
    odds = np.where(tagged.confidence >= confidence, odds, -np.inf)
    together = _least(tagged, odds, precision=precision, rate=rate)
    least, pooled = np.full(len(GROUPS), np.inf), []
    for number, group in enumerate(GROUPS):
        its = np.flatnonzero(tagged.group == number)
        if np.count_nonzero(~tagged.unknown[its]) < FEWEST:
            least[number] = together
            pooled.append(group)
        else:
            least[number] = _least(tagged.chosen(its), odds[its], precision=precision, rate=rate)
    reachable = np.isfinite(odds) & np.isfinite(least[tagged.group])
    above = np.where(reachable, odds, -np.inf)
    above[reachable] -= least[tagged.group[reachable]]
    if (raised := _raise(tagged, above, precision=precision, rate=rate)) is None:
        return None
    scores = {g: float(expit(odd + raised)) for g, odd in zip(GROUPS, least.tolist(), strict=True) if np.isfinite(odd)}
    return OpenSetTarget(
        precision=precision,
        false_accept_rate=rate,
        thresholds=scores,
        pooled=tuple(group for group in pooled if group in scores),
    )


def _least(tagged: TaggedPictures, odds: np.ndarray, *, precision: float, rate: float) -> float:
    """The least log-odds at which ``FEWEST`` tags or more of these pictures reach the target; infinity at none."""
    order = np.argsort(-odds, kind="stable")
    ranked, known, unknown = odds[order], np.cumsum(~tagged.unknown[order]), np.cumsum(tagged.unknown[order])
    precise = np.cumsum(tagged.right[order]) >= precision * known
    # Equal tags pass a threshold together, so that only the last of them can be one.
    last = np.append(ranked[1:] < ranked[:-1], True)[: len(ranked)]
    reached = last & np.isfinite(ranked) & (known >= FEWEST) & precise & (unknown <= rate * tagged.unknown.sum())
    return float(ranked[np.flatnonzero(reached)[-1]]) if reached.any() else np.inf


def _raise(tagged: TaggedPictures, above: np.ndarray, *, precision: float, rate: float) -> float | None:
    """The least raise of all thresholds that proves the target; None where none does.

    ``above`` (N,) is by how much each tag is above the threshold of its group.
    """
    steps = np.unique(np.append(above[np.isfinite(above) & (above > 0)], 0.0))
    steps = steps[np.unique(np.linspace(0, len(steps) - 1, min(RAISES, len(steps))).astype(int))]
    accepted = (above >= steps[:, None]).astype(np.float32)  # (steps, N)

    def precise(counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return accepted @ (counted * tagged.right), accepted @ (counted * ~tagged.unknown)

    def refused(counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        unknown = counted * tagged.unknown
        return unknown.sum() - accepted @ unknown, np.full(len(steps), unknown.sum())

    proven = proven_by_entity(precise, tagged.entity) >= precision
    proven &= proven_by_entity(refused, tagged.entity) >= 1 - rate
    return float(steps[np.flatnonzero(proven)[0]]) if proven.any() else None
