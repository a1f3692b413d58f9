"""Tags of a picture: the best entities, their confidences, and which of them reach a target precision.

What was read on labels in the picture changes all three; see ``label_evidence``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from entityclip.errors import ConfigError
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.retrieval import label_evidence
from entityclip.retrieval.index import EntityIndex, Snapshot
from entityclip.retrieval.index.ranking import nearest_photographs
from entityclip.retrieval.label_evidence import HALF, LabelMatches, VisualEvidence
from entityclip.retrieval.open_set import accepted, scores, tag_features
from entityclip.retrieval.rerank import rerank as reranked
from entityclip.retrieval.vectors import best, shares
from entityclip.schemas import Evidence, OpenSetTarget, Tag

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
    labels: LabelMatches = field(default_factory=LabelMatches)
    """What is printed on them says."""


def tags(
    model: LoadedModel,
    snapshot: Snapshot,
    similarities: Iterable[np.ndarray],
    shown: Sequence[Shown],
    *,
    k: int,
    bar: Bar | None,
    rerank: int = 0,
) -> list[list[Tag]]:
    """Of each of Q things the ``k`` entities that it most likely is, best first; none if there is no entity.

    Args:
        model: What embedded the pictures.
        snapshot: Entities that can be found.
        similarities: For each thing (M,) of its picture with each entity; minus infinity for one that cannot be found.
        shown: The pictures of each thing.
        k: Tags wanted.
        bar: What a tag has to reach to be marked ``above_threshold``; None in an index that was not calibrated.
        rerank: Number of top entities that the matching head re-ranks.
    """
    ranked = [
        _ranked(model, snapshot, row, one, k=k, bar=bar, rerank=rerank)
        for row, one in zip(similarities, shown, strict=True)
    ]
    # What is shown of entities and photographs is looked up once for all things: each look-up has its price.
    entities = iter(snapshot.entity_rows(np.concatenate([one.rows for one in ranked])) if ranked else ())
    photographs = nearest_photographs(snapshot, [one.rows for one in ranked], [thing.vector for thing in shown])
    return [
        _described(one, [next(entities) for _ in one.rows], thing.labels, nearest)
        for one, thing, nearest in zip(ranked, shown, photographs, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class _Ranked:
    """The tags of one thing as numbers, best first."""

    rows: np.ndarray
    """(k,) entities."""
    scores: np.ndarray
    confidences: np.ndarray
    above: np.ndarray
    """(k,) bool."""
    open_set: np.ndarray | None
    match: Mapping[int, float]
    """Entity -> what the matching head says, where it was queried."""


def _ranked(
    model: LoadedModel,
    snapshot: Snapshot,
    similarities: np.ndarray,
    shown: Shown,
    *,
    k: int,
    bar: Bar | None,
    rerank: int,
) -> _Ranked:
    possible = np.isfinite(similarities)
    if not possible.any():  # every entity was removed
        nothing = np.zeros(0)
        return _Ranked(np.zeros(0, np.int64), nothing, nothing, np.zeros(0, bool), None, {})
    confidences, labels = shares(similarities, scale=model.scale), shown.labels
    rows, match = best_entities(model, snapshot, similarities, shown.pictures, k=k, rerank=rerank)
    labelled = [row for row in labels.candidates(k) if possible[row] and row not in rows]
    rows = np.append(rows, np.array(labelled, np.int64))
    order, open_set, above = np.arange(len(rows)), None, np.zeros(len(rows), bool)
    if bar is not None:
        open_set, above = _open_set(model.card, snapshot, similarities, rows, picture=shown.vector, target=bar.open_set)
        above &= confidences[rows] >= bar.confidence
    if labels:
        known = HALF if open_set is None else float(open_set[0])
        look = VisualEvidence(rows, confidences, possible, known, above)
        verdict = label_evidence.weigh(labels, look, snapshot, least=None if bar is None else bar.confidence)
        confidences, order, above = verdict.confidences, verdict.order, verdict.above
    order = order[:k]
    rows, open_set = rows[order], None if open_set is None else open_set[order]
    return _Ranked(rows, similarities[rows], confidences[rows], above[order], open_set, match)


def _described(
    ranked: _Ranked, entities: Sequence[Mapping[str, Any]], labels: LabelMatches, photographs: Sequence[Evidence | None]
) -> list[Tag]:
    """The tags, each with the label that has its name, the one with a word of its own, and its nearest photograph."""
    words: list[Evidence | None] = [None] * len(entities)
    if labels.words is not None:
        words = labels.words.evidence([entity["entity_id"] for entity in entities])
    found = []
    for i, (row, entity) in enumerate(zip(ranked.rows.tolist(), entities, strict=True)):
        named = labels.found.get(row)
        reasons = (None if named is None else named.evidence(), words[i], photographs[i])
        tag = Tag(
            entity_id=entity["entity_id"],
            entity=entity["entity"],
            score=ranked.scores[i],
            confidence=ranked.confidences[i],
            open_set=None if ranked.open_set is None else ranked.open_set[i],
            above_threshold=ranked.above[i],
            why=tuple(reason for reason in reasons if reason is not None),
            match=ranked.match.get(row),
        )
        found.append(tag)
    return found


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
    return score, accepted(target, score, snapshot.groups(rows))


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
) -> tuple[np.ndarray, dict[int, float]]:
    """(k,) rows of the best entities, and what the matching head says of the first ``rerank``, which it re-ranked."""
    rows = best(similarities, k=max(k, rerank))
    rows = rows[np.isfinite(similarities[rows])]
    if not rerank:
        return rows, {}
    top = rows[:rerank]
    candidates = EntityIndex(model.card.fingerprint, snapshot.rows(top), {}, {})
    judged = reranked(model, candidates, pictures, rows=np.arange(len(top)), similarities=similarities[top])
    match = dict(zip(top.tolist(), judged.match.tolist(), strict=True))
    return np.concatenate([top[judged.order], rows[rerank:]])[:k], match
