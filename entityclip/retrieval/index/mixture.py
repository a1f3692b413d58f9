"""The mixed vector of an entity: caption, explanation and images, weighted by what is known of the entity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import numpy as np
import pandas as pd

from entityclip.errors import ConfigError
from entityclip.schemas import IndexKind, Mixture, MixtureGroup

GROUPS: tuple[MixtureGroup, ...] = get_args(MixtureGroup)

KINDS: tuple[IndexKind, ...] = ("caption", "explanation", "images")
"""What is mixed, in the order of the weights."""

DEFAULT_MIXTURE: dict[MixtureGroup, Mixture] = {
    "frequent": Mixture(caption=0.1, explanation=0.3, images=0.6),
    "few": Mixture(caption=0.1, explanation=0.3, images=0.6),
    "one": Mixture(caption=0.1, explanation=0.3, images=0.6),
    "none": Mixture(caption=0, explanation=1, images=0),
    "untrained": Mixture(caption=0, explanation=0.5, images=0.5),
    "unexplained": Mixture(caption=0, explanation=0, images=1, offset=-0.05),
}
"""Where nothing was calibrated. No picture ever taught the name of an entity without training pictures, so that its
explanation and its own pictures stand for it. A picture is more similar to pictures than to texts: an entity that has
nothing but pictures would come first too often without its offset."""


def groups_of(rows: pd.DataFrame) -> np.ndarray:
    """(M,) group of each entity, as its number in ``GROUPS``, from its slice and from what it has."""
    number = rows["slice"].map({name: i for i, name in enumerate(GROUPS)}).to_numpy(np.int64)
    late = (rows["slice"] == "none").to_numpy() & (rows["pictures"] > 0).to_numpy()
    explained = rows["has_explanation"].to_numpy(bool)
    return np.where(late, np.where(explained, GROUPS.index("untrained"), GROUPS.index("unexplained")), number)


def completed(mixture: Mapping[MixtureGroup, Mixture]) -> dict[MixtureGroup, Mixture]:
    """``mixture`` with the default of the groups that it leaves out.

    Raises:
        ConfigError: An unknown group.
    """
    if unknown := set(mixture) - set(GROUPS):
        raise ConfigError(f"mixture of {min(unknown)!r}: expected groups among {', '.join(GROUPS)}")
    return DEFAULT_MIXTURE | dict(mixture)


def weights_of(rows: pd.DataFrame, mixture: Mapping[MixtureGroup, Mixture]) -> np.ndarray:
    """(M, 3) weights of each entity's ``KINDS``, times the scale of its group.

    Of an entity without pictures, their weight goes to the texts in proportion.
    """
    table = np.array([[getattr(mixture[g], kind) for kind in KINDS] for g in GROUPS])
    number = groups_of(rows)
    weights = table[number]
    weights[(rows["pictures"] == 0).to_numpy(), 2] = 0
    total = weights.sum(axis=1, keepdims=True)
    weights = np.where(total > 0, weights / np.maximum(total, 1e-9), [0.0, 1.0, 0.0])
    scale = np.array([mixture[g].scale for g in GROUPS])[number, None]
    return (scale * weights).astype(np.float32)


def offsets_of(rows: pd.DataFrame, mixture: Mapping[MixtureGroup, Mixture]) -> np.ndarray:
    """(M,) float32: what is added to each entity's similarity with a picture."""
    return np.array([mixture[g].offset for g in GROUPS], np.float32)[groups_of(rows)]
