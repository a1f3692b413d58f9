"""Tags of a picture: the best entities, their confidences, and which of them reach a target precision.

What was read on labels in the picture changes all three; see ``label_evidence``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    possible = np.isfinite(similarities)
    if not possible.any():  # every entity was removed
        return []
    confidences, labels = shares(similarities, scale=model.scale), shown.labels
    found = dict(best_entities(model, snapshot, similarities, shown.pictures, k=k, rerank=rerank))
    labelled = [row for row in labels.candidates(k) if possible[row] and row not in found]
    found |= dict(_fields(snapshot, similarities, np.array(labelled, np.int64), {}))
    rows = np.array(list(found), np.int64)
    order, open_set, above = np.arange(len(rows)), None, np.zeros(len(rows), bool)
    if bar is not None:
        open_set, above = _open_set(model.card, snapshot, similarities, rows, picture=shown.vector, target=bar.open_set)
        above &= confidences[rows] >= bar.confidence
    if labels:
        known = HALF if open_set is None else float(open_set[0])
        look = VisualEvidence(rows, confidences, possible, known, above)
        verdict = label_evidence.weigh(labels, look, snapshot, least=None if bar is None else bar.confidence)
        confidences, order, above = verdict.confidences, verdict.order, verdict.above
    reasons = _reasons(labels, snapshot, rows, shown.vector)
    return [
        Tag(
            **found[rows[i]],
            confidence=confidences[rows[i]],
            open_set=None if open_set is None else open_set[i],
            above_threshold=above[i],
            why=tuple(reason for reason in reasons[i] if reason is not None),
        )
        for i in order[:k].tolist()
    ]


def _reasons(
    labels: LabelMatches, snapshot: Snapshot, rows: np.ndarray, picture: np.ndarray
) -> list[tuple[Evidence | None, ...]]:
    """For each tag the label with its name, the one with a word of its own, and its nearest photograph."""
    matches = (labels.found.get(row) for row in rows.tolist())
    named = [None if match is None else match.evidence() for match in matches]
    words: list[Evidence | None] = [None] * len(rows)
    if labels.words is not None:
        words = labels.words.evidence([row["entity_id"] for row in snapshot.entity_rows(rows)])
    return list(zip(named, words, nearest_photographs(snapshot, rows, picture), strict=True))


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
    yield from _fields(snapshot, similarities, rows[:k], match)


def _fields(
    snapshot: Snapshot, similarities: np.ndarray, rows: np.ndarray, match: Mapping[int, float]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row with the fields that a hit and a tag share."""
    for row, shown in zip(rows.tolist(), snapshot.entity_rows(rows), strict=True):
        fields = {name: shown[name] for name in ("entity_id", "entity")}
        yield row, fields | {"score": float(similarities[row]), "match": match.get(row)}
