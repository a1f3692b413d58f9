"""Calibration on validation pictures: how the mixed index is mixed, and which tags are trusted.

All go onto the checkpoint card, so that evaluation and service decide by the same numbers. Pictures of the training
split stand for their entities meanwhile, as in an evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student

from entityclip.evaluation.intervals import proven_share
from entityclip.evaluation.mixture_search import (
    STEPS,
    Objective,
    Parameters,
    Queries,
    entities_by_group,
    mixture_of,
    parameters_of,
    queries_of,
    searched,
)
from entityclip.evaluation.open_set_calibration import TaggedPictures, calibrate_open_set
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.paths import DataLayout
from entityclip.retrieval.index import DEFAULT_MIXTURE, EntityIndex, PictureIndex
from entityclip.retrieval.index.entities import mean_by_owner
from entityclip.retrieval.index.mixture import GROUPS, KINDS, groups_of
from entityclip.retrieval.tagging import PRECISIONS, TAGS
from entityclip.retrieval.vectors import best, shares
from entityclip.schemas import Mixture, MixtureGroup, Split

SHARPER = 3.0
"""The mixture is judged by a softmax this much sharper than training's: near to recall@1, and yet smooth, so that
the choice does not hang on a handful of pictures that just tip over."""

FOLDS = 3
"""Parts of the entities: the mixture that a part is judged by was found on the others."""

ALPHA = 0.05
"""Level of the test that a mixture's gain is no accident."""

GIVEN = 2
"""Pictures that an entity without training pictures gets while the group ``untrained`` is calibrated."""

TURNS = np.array([0, 1, 0, 2, 0, 3, 0, 4])
"""View that each picture of a trained entity is a query of, in turn."""

PICTURES = 5000
"""Pictures that calibration looks at, at most: more would cost time and move nothing."""

COMPARISONS = 10**7
"""Pictures times entities that the mixture is judged by, about."""


def calibrate(model: LoadedModel, data: DataLayout, *, split: Split = "val", progress: bool = False) -> CheckpointCard:
    """The model's card with ``mixture``, ``thresholds`` and ``open_set``, from one embedding of the split's pictures.

    A split without pictures gives the default mixture, no thresholds, and an open-set rule that accepts no tag.

    Raises:
        DataError: The data are incomplete.
    """
    known = PictureIndex.build(model, data, split="train", progress=progress)
    entities = EntityIndex.build(model, data, pictures=known, progress=progress)
    pictures = PictureIndex.build(model, data, split=split, most=PICTURES, progress=progress)
    return calibrated(model.card, entities, pictures, scale=model.scale)[0]


def calibrated(
    card: CheckpointCard, entities: EntityIndex, pictures: PictureIndex, *, scale: float
) -> tuple[CheckpointCard, EntityIndex]:
    """The card with what these pictures say, and the index with the mixture that they say."""
    entities = calibrate_index(entities, pictures, scale=scale)
    thresholds = calibrate_thresholds(entities, pictures, scale=scale)
    open_set = calibrate_open_set(tagged_pictures(entities, pictures, scale=scale), thresholds)
    found = {"mixture": entities.mixture, "thresholds": thresholds, "open_set": open_set}
    return card.model_copy(update=found), entities


def calibrate_index(
    entities: EntityIndex, pictures: PictureIndex, *, scale: float, kinds: Sequence[str] = KINDS
) -> EntityIndex:
    """The index with the mixture of ``kinds`` that serves ``pictures`` best."""
    return entities.remixed(calibrate_mixture(entities, pictures, scale=scale, kinds=kinds))


# ---------------------------------------------------------------- mixture
def calibrate_mixture(
    entities: EntityIndex, pictures: PictureIndex, *, scale: float, kinds: Sequence[str] = KINDS
) -> dict[MixtureGroup, Mixture]:
    """Weights, scale and offset of each group in the mixed index, by the softened recall@1 of ``pictures``.

    All groups are searched together (``mixture_search``), from the default. The result is taken only if a gain is
    proven for entities that it was not found on, each group counting by its entities: each of ``FOLDS`` parts of them
    is judged by what a shorter search on the others gives. Otherwise the default stays. A group without pictures
    follows a group like it. The optimum is optimistic: report recall on another split.

    Scales and offsets differ because training pulls every picture to the texts of its own entity. One that it never saw
    is left behind: its text may describe a picture best, and yet comes second to a sibling that was photographed
    (calibrated stacking; Chao et al., arXiv 1605.04253, who subtract from the seen classes).
    """
    queries = mixture_queries(entities, pictures)
    default = dict(DEFAULT_MIXTURE)
    if queries is None:
        return default
    start = _start(kinds)
    scale *= SHARPER
    folds = np.random.default_rng(0).integers(FOLDS, size=len(entities.rows))[queries.entity]
    gain = np.zeros(len(queries.entity))
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if len(inside) and len(outside):
            objective = Objective(queries.chosen(outside), scale=scale)
            found = searched(objective, start, seed=fold, kinds=kinds, steps=STEPS // 4)
            judged = Objective(queries.chosen(inside), scale=scale)
            gain[inside] = judged.right(found) - judged.right(start)
    if not _is_proven(gain, queries, slices=entities.rows["slice"]):
        return mixture_of(start)
    return mixture_of(searched(Objective(queries, scale=scale), start, seed=0, kinds=kinds))


def _is_proven(gain: np.ndarray, queries: Queries, *, slices: pd.Series) -> bool:
    """Whether the mean of (Q,) gains is above zero by a one-sided t-test at 5 %, stratified by slice.

    Each group counts by the entities that it stands for, since many must not pay for the gain of a few. Pictures of
    one entity count as one; a slice with one entity may be anything.

    Args:
        gain: Of each query.
        queries: What it was measured on.
        slices: (M,) slice of each entity.
    """
    entities, count = entities_by_group(slices, np.unique(queries.group)), np.bincount(queries.group)
    each = entities[queries.group] / count[queries.group]
    shown, number = np.unique(queries.entity, return_inverse=True)
    by_entity, most = np.bincount(number, gain * each), np.bincount(number, each)
    strata = [np.flatnonzero(slices.iloc[shown] == name) for name in slices.iloc[shown].unique()]
    variance = sum(len(s) * by_entity[s].var(ddof=1) if len(s) > 1 else most[s[0]] ** 2 for s in strata)
    freedom = len(shown) - len(strata)
    if freedom < 1 or not by_entity.any():
        return False
    return bool(student.sf(by_entity.sum() / max(float(variance), 1e-12) ** 0.5, freedom) < ALPHA)


def _start(kinds: Sequence[str]) -> Parameters:
    """The default with ``kinds`` alone."""
    default = parameters_of(DEFAULT_MIXTURE)
    default[:, :3] *= [kind in kinds for kind in KINDS]
    default[default[:, :3].sum(axis=1) == 0, :3] = [kind == kinds[0] for kind in KINDS]
    default[:, :3] /= default[:, :3].sum(axis=1, keepdims=True)
    return default


def mixture_queries(entities: EntityIndex, pictures: PictureIndex) -> Queries | None:
    """What the mixture is judged by; None without pictures."""
    if pictures.rows.empty:
        return None
    queries = []
    for number, view in enumerate(_views(entities, pictures)):
        trained = (entities.rows["slice"] != "none").to_numpy()[view.owner[view.rows]]
        in_turn = TURNS[view.rows % len(TURNS)] == number  # each picture of a trained entity once
        queries.append(_queries(view._replace(rows=view.rows[~trained | in_turn]), pictures))
    return Queries.joined(queries)


class View(NamedTuple):
    """Some pictures as queries of the entities as they are at one time."""

    entities: EntityIndex
    owner: np.ndarray
    """(N,) row of the entity that each picture shows."""
    rows: np.ndarray
    """(Q,) pictures that are queries."""


def _views(entities: EntityIndex, pictures: PictureIndex) -> Iterator[View]:
    """The pictures as queries five times.

    Entities that were not trained on are in the group ``none`` in one view, as in an evaluation. In the others, as in a
    service, all of them have some of their pictures given to them, which makes them ``untrained``, and are queried with
    the rest; in half of these views they have lost their explanations, too, and are ``unexplained``.
    """
    owner = entities.by_id.get_indexer(pd.Index(pictures.rows["entity_id"]))
    each = max(1, len(owner) // max(PICTURES // 10, COMPARISONS // len(entities.rows)))
    late = (entities.rows["slice"] == "none").to_numpy()
    turn, place = pictures.rows.groupby("entity_id").cumcount().to_numpy(), np.arange(len(owner))
    for view in range(5):  # as it is; their even, or their odd pictures are given; the same without explanations
        given = late[owner] & (turn % 2 == view % 2) & (turn < 2 * GIVEN) & (view > 0)
        queries = ~given & (place % each == 0)
        shown = _given(entities, pictures, owner, given=given, mute=late & (view > 2))
        yield View(shown, owner, np.flatnonzero(queries))


def _given(
    entities: EntityIndex, pictures: PictureIndex, owner: np.ndarray, *, given: np.ndarray, mute: np.ndarray
) -> EntityIndex:
    """The entities, of which some have the pictures ``given``, and those that are ``mute`` no explanation."""
    count = np.bincount(owner[given], minlength=len(entities.rows))
    seen = mean_by_owner(pictures.vectors[given], owner[given], owners=len(entities.rows))
    theirs = (count > 0)[:, None]
    vectors = entities.vectors | {
        "images": np.where(theirs, seen, entities.vectors["images"]),
        "explanation": np.where(mute[:, None], entities.vectors["caption"], entities.vectors["explanation"]),
    }
    rows = entities.rows.assign(
        pictures=np.where(count > 0, count, entities.rows["pictures"]),
        has_explanation=entities.rows["has_explanation"] & ~mute,
    )
    return EntityIndex(entities.fingerprint, rows, vectors, {})


def _queries(view: View, pictures: PictureIndex) -> Queries:
    """Queries of the mixture's search."""
    vectors, entities = pictures.vectors[view.rows], view.entities
    similarities = np.stack([vectors @ entities.vectors[kind].T for kind in KINDS], axis=2)
    return queries_of(similarities, truth=view.owner[view.rows], groups=groups_of(entities.rows))


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
        similarities = entities.similarities(picture, "mixed")
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


def tagged_pictures(entities: EntityIndex, pictures: PictureIndex, *, scale: float) -> TaggedPictures:
    """First tags of the pictures, in and out of the catalogue.

    Tags of trained entities, and of those without pictures, are those of an evaluation. Those of entities that have
    pictures and were not trained on come from the other views of the mixture.
    """
    if pictures.rows.empty:
        return TaggedPictures.of(entities, pictures.vectors, np.zeros(0, np.int64), scale=scale)
    parts = []
    for number, view in enumerate(_views(entities, pictures)):
        shown = view.entities.remixed(entities.mixture)
        tagged = TaggedPictures.of(shown, pictures.vectors[view.rows], view.owner[view.rows], scale=scale)
        parts.append(
            tagged if number == 0 else tagged.chosen(np.flatnonzero(tagged.group >= GROUPS.index("untrained")))
        )
    return TaggedPictures.joined(parts)
