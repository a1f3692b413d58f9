"""Tags of a picture: the best entities, their confidences, and which of them reach a target precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from entityclip.errors import ConfigError
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.retrieval.index import EntityIndex, Snapshot
from entityclip.retrieval.index.mixture import groups_of
from entityclip.retrieval.index.ranking import nearest_photographs
from entityclip.retrieval.open_set import accepted, scores, tag_features
from entityclip.retrieval.rerank import rerank as reranked
from entityclip.retrieval.vectors import best, shares
from entityclip.schemas import OpenSetTarget, Tag

TAGS = 5
"""Tags a picture gets unless the caller says otherwise; thresholds are calibrated on as many."""

PRECISION = 0.9
"""Target precision unless the caller says otherwise."""

PRECISIONS = (0.8, 0.9, 0.95, 0.99)
"""Target precisions that get a threshold, where the validation pictures can prove one."""

NEAREST = 3
"""Entities that a match shows beside the text."""


@dataclass(frozen=True)
class Bar:
    """What a tag has to reach to be marked ``above_threshold``."""

    confidence: float
    """Least confidence; infinity where the validation pictures could not prove the precision."""
    open_set: OpenSetTarget | None
    """Least scores of the open-set rule; None where they could not, or where the card has no rule."""


@dataclass(frozen=True, eq=False)
class Shown:
    """The pictures of one thing, and their vector."""

    pictures: Sequence[Image.Image]
    vector: np.ndarray
    """(D,) unit mean of theirs."""


def tags(
    model: LoadedModel,
    snapshot: Snapshot,
    similarities: np.ndarray,
    shown: Shown,
    *,
    k: int,
    bar: Bar | None,
    rerank: int = 0,
) -> list[Tag]:
    """The ``k`` entities of ``snapshot`` that a picture most likely shows, best first; none if there is no entity.

    Args:
        model: What embedded the picture.
        snapshot: Entities that can be found.
        similarities: (M,) of the picture with each entity; minus infinity for one that cannot be found.
        shown: The picture, or several.
        k: Tags wanted.
        bar: What a tag has to reach to be marked ``above_threshold``; None in an index that was not calibrated.
        rerank: Number of top entities that the matching head re-ranks.
    """
    if not np.isfinite(similarities).any():  # every entity was removed
        return []
    confidences = shares(similarities, scale=model.scale)
    found = list(best_entities(model, snapshot, similarities, shown.pictures, k=k, rerank=rerank))
    rows = np.array([row for row, _ in found], np.int64)
    open_set, above = None, np.zeros(len(rows), bool)
    if bar is not None:
        open_set, above = _open_set(model.card, snapshot, similarities, rows, picture=shown.vector, target=bar.open_set)
        above &= confidences[rows] >= bar.confidence
    photographs = nearest_photographs(snapshot, rows, shown.vector)
    return [
        Tag(
            **fields,
            confidence=confidences[row],
            open_set=None if open_set is None else open_set[i],
            above_threshold=above[i],
            why=() if photograph is None else (photograph,),
        )
        for i, ((row, fields), photograph) in enumerate(zip(found, photographs, strict=True))
    ]


def _open_set(
    card: CheckpointCard,
    snapshot: Snapshot,
    similarities: np.ndarray,
    rows: np.ndarray,
    *,
    picture: np.ndarray,
    target: OpenSetTarget | None,
) -> tuple[np.ndarray | None, np.ndarray]:
    """(k,) scores of the tags at ``rows``, and whether the rule accepts each; a card without a rule accepts all."""
    if card.open_set is None:
        return None, np.ones(len(rows), bool)
    images = snapshot.vectors(rows, "images")
    photographs = np.where(images.any(axis=1), images @ picture, np.nan)
    score = scores(card.open_set, tag_features(similarities, rows, photographs))
    if target is None:
        return score, np.zeros(len(rows), bool)
    return score, accepted(target, score, groups_of(snapshot.rows(rows)))


def bar_of(card: CheckpointCard, precision: float) -> Bar:
    """What tags have to reach for ``precision``, by the card.

    Raises:
        ConfigError: ``precision`` was not calibrated.
    """
    if str(precision) not in (calibrated := {*map(str, PRECISIONS), *card.thresholds}):
        known = ", ".join(sorted(calibrated))
        raise ConfigError(f"precision {precision} was not calibrated; expected one of {known}")
    target = None if card.open_set is None else card.open_set.target(precision)
    return Bar(card.thresholds.get(str(precision), np.inf), target)


def best_entities(
    model: LoadedModel,
    snapshot: Snapshot,
    similarities: np.ndarray,
    pictures: Sequence[Image.Image],
    *,
    k: int,
    rerank: int,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Row and fields of the ``k`` best entities; the matching head has re-ranked the first ``rerank`` of all."""
    rows = best(similarities, k=max(k, rerank))
    rows = rows[np.isfinite(similarities[rows])]
    match: dict[int, float] = {}
    if rerank:
        top = rows[:rerank]
        candidates = EntityIndex(model.card.fingerprint, snapshot.rows(top), {}, {})
        places = np.arange(len(top))
        judged = reranked(model, candidates, pictures, rows=places, similarities=similarities[top])
        match = dict(zip(top.tolist(), judged.match.tolist(), strict=True))
        rows = np.concatenate([top[judged.order], rows[rerank:]])
    found = snapshot.rows(rows[:k])[["entity_id", "entity"]].assign(score=similarities[rows[:k]])
    for row, fields in zip(rows[:k].tolist(), found.to_dict("records"), strict=True):
        yield row, {str(name): value for name, value in fields.items()} | {"match": match.get(row)}
