"""The pictures of a snapshot that are most similar to a query."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from entityclip.retrieval.index.snapshot import Snapshot
from entityclip.retrieval.vectors import best
from entityclip.schemas import Filter


class PictureQuery:
    """The pictures of a snapshot as one question sees them.

    Args:
        snapshot: What can be found.
        query: (D,) the question.
        where: Whose pictures may be found; None for all.
    """

    def __init__(self, snapshot: Snapshot, query: np.ndarray, where: Filter | None = None) -> None:
        self._released, self._query = snapshot.released.pictures, query
        self._late = snapshot.added_pictures.vectors
        self._first = len(snapshot.gone_pictures)
        self._passing = snapshot.passing(where)

    @cached_property
    def _similarities(self) -> np.ndarray:
        """(P,) with each of the release's, where these are few enough to be compared one by one."""
        assert self._released is not None
        return self._released.vectors @ self._query

    def nearest(self, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` most similar pictures, best first: numbers and similarities."""
        if self._released is None or self._released.approximate is None:
            return self.among(np.flatnonzero(self._passing.pictures), k=k)
        only = self._passing.only
        known = self._released.approximate.nearest(self._query, self._released.vectors, k=k, only=only)
        late = np.arange(self._first, len(self._passing.pictures))
        return self.among(np.concatenate([known, late]), k=k)

    def among(self, pictures: np.ndarray, *, k: int, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` most similar of ``pictures``, best first; those that may not be found are left out.

        Of those that may, the first ``most`` are looked at.
        """
        pictures = np.sort(pictures[self._passing.pictures[pictures]][:most])
        known, late = pictures[pictures < self._first], pictures[pictures >= self._first]
        scores = np.concatenate([self._known(known), self._late[late - self._first] @ self._query])
        chosen = best(scores, k=k)
        return pictures[chosen], scores[chosen]

    def _known(self, pictures: np.ndarray) -> np.ndarray:
        if self._released is None:
            return np.zeros(0, np.float32)
        if self._released.approximate is None:
            return self._similarities[pictures]
        return self._released.vectors[pictures] @ self._query
