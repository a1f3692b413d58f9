"""What can be found at one moment: a release's indexes, and over them what was changed since.

The release's arrays are never copied. Entities are numbered through: the M of the release, then the changed and
added ones; pictures alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from entityclip.retrieval.index.approximate import Only
from entityclip.retrieval.index.entities import EntityIndex
from entityclip.retrieval.index.mixture import groups_of
from entityclip.retrieval.index.pictures import PictureIndex
from entityclip.retrieval.index.query import QueryVectors
from entityclip.schemas import Filter, IndexKind

PICTURE_SHOWN = ("pair_id", "caption", "path")
ENTITY_SHOWN = ("entity_id", "entity", "aliases", "explanation")

FILTERS = 32
"""Filters that are kept ready; each takes a byte and a bit per picture."""


@dataclass(frozen=True, eq=False)
class Passing:
    """What one filter lets through of a snapshot."""

    entities: np.ndarray
    """(M + m,) bool."""
    pictures: np.ndarray
    """(P + p,) bool; without those that were removed."""
    only: Only | None
    """The release's pictures among them, for its approximate index; None where that may give any, or is none."""


@dataclass(frozen=True, eq=False)
class ReleaseIndexes:
    """A release's indexes, and which pictures belong to which entity.

    Raises:
        DataError: A picture shows an entity that is not among the entities.
    """

    entities: EntityIndex
    pictures: PictureIndex | None

    @cached_property
    def owner(self) -> np.ndarray:
        """(P,) number of the entity that each picture shows."""
        if self.pictures is None:
            return np.zeros(0, np.int32)
        return self.entities.rows_of(self.pictures.rows["entity_id"]).astype(np.int32)

    @cached_property
    def shown_pictures(self) -> pa.Table:
        """``PICTURE_SHOWN`` of each picture."""
        return _shown(pd.DataFrame() if self.pictures is None else self.pictures.rows, PICTURE_SHOWN)

    @cached_property
    def groups(self) -> np.ndarray:
        """(M,) group of each entity, as its number in ``mixture.GROUPS``."""
        return groups_of(self.entities.rows)

    @cached_property
    def shown_entities(self) -> pa.Table:
        """``ENTITY_SHOWN`` of each entity."""
        return _shown(self.entities.rows, ENTITY_SHOWN)

    @cached_property
    def _by_owner(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.owner, kind="stable")
        return order, np.searchsorted(self.owner[order], np.arange(len(self.entities.rows) + 2))

    @cached_property
    def _by_pair(self) -> pd.Index:
        return pd.Index([] if self.pictures is None else self.pictures.rows["pair_id"], dtype="str")

    def pictures_named(self, pair_ids: Iterable[str]) -> np.ndarray:
        """Numbers of those of these pictures that there are."""
        found = self._by_pair.get_indexer(pd.Index(sorted(pair_ids), dtype="str"))
        return found[found >= 0]

    def pictures_of(self, entities: np.ndarray) -> np.ndarray:
        """Numbers of the pictures of (n,) released entities; the number after the last one has none."""
        order, start = self._by_owner
        count = start[entities + 1] - start[entities]
        # One run of numbers for each entity, without a loop: where the run begins, and how far into it.
        begins = np.repeat(start[entities] - np.cumsum(count) + count, count)
        return order[begins + np.arange(count.sum())]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Everything that can be found. Nothing in it changes: the next change makes another one."""

    released: ReleaseIndexes
    added: EntityIndex
    """Entities that were changed or added; the changed ones stand in the place of those of the release."""
    added_pictures: PictureIndex
    gone: np.ndarray
    """(M,) bool: entities of the release that were removed or changed."""
    gone_pictures: np.ndarray
    """(P,) bool: pictures of the release that were removed."""
    owner: np.ndarray
    """(P + p,) number of the entity that each picture shows."""

    def __len__(self) -> int:
        """Entities that can be found."""
        return int((~self.gone).sum()) + len(self.added.rows)

    @property
    def pictures(self) -> int:
        """Pictures that can be found."""
        return int((~self.gone_pictures).sum()) + len(self.added_pictures.rows)

    # ------------------------------------------------------------ entities
    def similarities(self, query: QueryVectors, kind: IndexKind, where: Filter | None = None) -> np.ndarray:
        """(M + m,) similarity of each entity with ``query``; minus infinity for what is gone or does not pass."""
        known = query.similarities(self.released.entities, kind)
        known[self.gone] = -np.inf
        similarities = np.concatenate([known, query.similarities(self.added, kind)])
        if where is not None:
            similarities[~self.passing(where).entities] = -np.inf
        return similarities

    def vectors(self, entities: Iterable[int], kind: IndexKind) -> np.ndarray:
        """(N, D) vectors of some entities."""
        numbers = np.fromiter(entities, np.int64)
        late = numbers >= (first := len(self.gone))
        vectors = np.empty((len(numbers), self.added.dim), np.float32)
        vectors[late] = self.added.vectors[kind][numbers[late] - first]
        vectors[~late] = self.released.entities.vectors[kind][numbers[~late]]
        return vectors

    def rows(self, entities: Iterable[int]) -> pd.DataFrame:
        """Rows of some entities, in this order."""
        numbers = np.fromiter(entities, np.int64)
        return _taken(self.released.entities.rows, self.added.rows, numbers)

    def groups(self, entities: np.ndarray) -> np.ndarray:
        """(N,) group of some entities, as its number in ``mixture.GROUPS``."""
        late = entities >= (first := len(self.gone))
        groups = np.empty(len(entities), np.int64)
        groups[~late] = self.released.groups[entities[~late]]
        groups[late] = self._late_groups[entities[late] - first]
        return groups

    def entity_rows(self, entities: np.ndarray) -> list[dict[str, Any]]:
        """``ENTITY_SHOWN`` of some entities, in this order."""
        return _records(self.released.shown_entities, self._late_entities, entities)

    def numbers(self, entity_ids: Iterable[str], *, added: bool) -> list[int]:
        """Numbers of those ids that can be found, among the added entities or among those of the release."""
        if added:
            return [self._added_number[i] for i in entity_ids if i in self._added_number]
        ids = list(entity_ids)
        found = self.released.entities.by_id.get_indexer(pd.Index(ids, dtype="str")) if ids else ()
        return [int(row) for row in found if row >= 0 and not self.gone[row]]

    def number_of(self, entity_id: str) -> int | None:
        """Number of the entity with this id; None where it cannot be found."""
        found = [number for added in (True, False) for number in self.numbers([entity_id], added=added)]
        return found[0] if found else None

    def passing(self, where: Filter | None) -> Passing:
        """What ``where`` lets through; of the last ``FILTERS`` it is remembered."""
        return self._remembered(where or Filter())

    @cached_property
    def _remembered(self) -> Callable[[Filter], Passing]:
        return lru_cache(maxsize=FILTERS)(self._passing)

    def _passing(self, where: Filter) -> Passing:
        entities = np.concatenate([self.released.entities.facets.mask(where), self.added.facets.mask(where)])
        first, known = len(self.gone_pictures), self.released.pictures
        approximate = None if known is None else known.approximate
        pictures = entities[self.owner]
        pictures[:first] &= ~self.gone_pictures
        if approximate is None or pictures[:first].all():
            return Passing(entities, pictures, None)
        return Passing(entities, pictures, approximate.only(pictures[:first]))

    @cached_property
    def _late_groups(self) -> np.ndarray:
        return groups_of(self.added.rows)

    @cached_property
    def _late_entities(self) -> pa.Table:
        return _shown(self.added.rows, ENTITY_SHOWN)

    @cached_property
    def _late_pictures(self) -> pa.Table:
        return _shown(self.added_pictures.rows, PICTURE_SHOWN)

    @cached_property
    def _added_number(self) -> dict[str, int]:
        first = len(self.gone)
        return {entity_id: first + row for row, entity_id in enumerate(self.added.rows["entity_id"])}

    # ------------------------------------------------------------ pictures
    def pictures_of(self, entities: Iterable[int]) -> np.ndarray:
        """Numbers of the pictures of some entities."""
        wanted = list(entities)
        known = np.fromiter(map(self._released_number, wanted), np.int64, len(wanted))
        found = self.released.pictures_of(known)
        found = found[~self.gone_pictures[found]]
        if len(self.owner) == len(self.gone_pictures):
            return found
        late = np.flatnonzero(np.isin(self.owner[len(self.gone_pictures) :], wanted)) + len(self.gone_pictures)
        return np.concatenate([found, late])

    def _released_number(self, entity: int) -> int:
        """The number that the entity had before it was changed; one past the last where the release has it not."""
        if entity < len(self.gone):
            return entity
        row = self.released.entities.row_of(self.added.rows["entity_id"].iloc[entity - len(self.gone)])
        return len(self.gone) if row is None else row

    def picture_vectors(self, pictures: np.ndarray) -> np.ndarray:
        """(N, D) vectors of some pictures, in this order."""
        late = pictures >= (first := len(self.gone_pictures))
        vectors = np.empty((len(pictures), self.added.dim), np.float32)
        vectors[late] = self.added_pictures.vectors[pictures[late] - first]
        if self.released.pictures is not None:
            vectors[~late] = self.released.pictures.vectors[pictures[~late]]
        return vectors

    def picture_rows(self, pictures: np.ndarray) -> list[dict[str, Any]]:
        """pair_id, caption and path of some pictures, in this order."""
        return _records(self.released.shown_pictures, self._late_pictures, pictures)


def _taken(known: pd.DataFrame, late: pd.DataFrame, numbers: np.ndarray) -> pd.DataFrame:
    """Rows of both frames, numbered through, in the order of ``numbers``."""
    first = len(known)
    if not (numbers >= first).any():
        return known.iloc[numbers]
    old, new = numbers[numbers < first], numbers[numbers >= first]
    rows = pd.concat([known.iloc[old], late.iloc[new - first]])
    place = np.argsort(np.argsort(numbers >= first, kind="stable"), kind="stable")
    return rows.iloc[place]


def _shown(rows: pd.DataFrame, columns: tuple[str, ...]) -> pa.Table:
    """These columns: a few rows of a table are read ten times as fast as those of a frame."""
    return pa.Table.from_pandas(rows.reindex(columns=columns, fill_value=""), preserve_index=False)


def _records(known: pa.Table, late: pa.Table, numbers: np.ndarray) -> list[dict[str, Any]]:
    """Rows of both tables, numbered through, in the order of ``numbers``."""
    first = len(known)
    if not (numbers >= first).any():
        return known.take(numbers).to_pylist()
    old = iter(known.take(numbers[numbers < first]).to_pylist())
    new = iter(late.take(numbers[numbers >= first] - first).to_pylist())
    return [next(old if number < first else new) for number in numbers]
