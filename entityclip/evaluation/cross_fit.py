"""Cross-fitting: figures on the very pictures that calibrate a model, without letting any picture calibrate its own.

Data without test pictures are evaluated on their validation pictures, which also find mixture, thresholds and open-set
rule. So the entities are divided into folds, and the pictures of a fold are judged by a calibration on the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from entityclip.evaluation.calibrate import PICTURES, calibrated
from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.schemas import Split

CALIBRATES: Split = "val"
"""The split that calibrates."""

FOLDS = 3

SEED = 1
"""Not 0: the calibration draws folds of its own with that, and would find one of three empty."""


class CalibratedPart(NamedTuple):
    """Some pictures of a split, with a calibration that they had no part in."""

    card: CheckpointCard
    entities: EntityIndex
    rows: np.ndarray
    """(Q,) rows of the pictures."""


def cross_fitted(
    card: CheckpointCard, entities: EntityIndex, pictures: PictureIndex, *, scale: float
) -> Iterator[CalibratedPart]:
    """The pictures in ``FOLDS`` parts by entity, each with a calibration on the others.

    Args:
        card: The model's.
        entities: All of them, with the vectors of the model.
        pictures: Those of the split that calibrates.
        scale: Of the model's similarities.
    """
    owner = entities.rows_of(pictures.rows["entity_id"])
    folds = np.random.default_rng(SEED).integers(FOLDS, size=len(entities.rows))[owner]
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if len(inside):
            # As many as ``calibrate`` looks at, and chosen in the same way.
            first = pictures.rows["pair_id"].iloc[outside].argsort().to_numpy()[:PICTURES]
            looked = outside[np.sort(first)]
            others = replace(
                pictures, rows=pictures.rows.iloc[looked].reset_index(drop=True), vectors=pictures.vectors[looked]
            )
            found, mixed = calibrated(card, entities, others, scale=scale)
            yield CalibratedPart(found, mixed, inside)
