"""A query as vectors, and its similarities with entities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from entityclip.retrieval.index.entities import EntityIndex
from entityclip.retrieval.vectors import unit
from entityclip.schemas import IndexKind


@dataclass(frozen=True, eq=False)
class QueryVectors:
    """What is looked for: a picture, a text, or both."""

    picture: np.ndarray | None = None
    """(D,) unit vector; of several pictures of one thing, the unit mean of theirs."""
    text: np.ndarray | None = None
    """(D,) vector."""

    @cached_property
    def vector(self) -> np.ndarray:
        """(D,) unit vector: the picture's, the text's, or halfway between them."""
        parts = [part for part in (self.picture, self.text) if part is not None]
        return unit(unit(np.stack(parts)).mean(axis=0, keepdims=True))[0]

    def similarities(self, entities: EntityIndex, kind: IndexKind) -> np.ndarray:
        """(M,) similarity of each entity; of a picture with a text, the mean of both. Minus infinity in the images
        index for an entity without pictures.
        """
        parts = [] if self.picture is None else [entities.similarities(self.picture, kind)]
        parts += [] if self.text is None else [entities.text_similarities(self.text, kind)]
        similarities = np.stack(parts).mean(axis=0)
        if kind == "images":
            similarities[~entities.pictured] = -np.inf
        return similarities
