"""Entities that share photographs, such as the sizes of one product, as one entity with several names.

A photograph cannot distinguish them, so a tag for one is correct for all. Search finds the entity by every name.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from entityclip.data.pairs import digest, normalised
from entityclip.data.sources.base import EntityRow, PictureRow
from entityclip.data.sources.table import TableSource
from entityclip.schemas import Rejection


@dataclass(frozen=True)
class _Groups:
    name_of: dict[str, str]
    """Normalised name -> the name of the group's first row; only of entities that share a picture."""
    repeats: dict[int, int]
    """Row -> the earlier row with the same picture under another of the group's names."""


class MergedSource:
    """The rows of ``source``; entities that share a picture, directly or indirectly, are merged into one.

    The entity keeps the name of its first row; the other names become aliases. A picture that is listed under several
    names is kept once. Two pictures are the same if their bytes are equal. Comparing them reads every
    picture a second time.
    """

    def __init__(self, source: TableSource) -> None:
        self.name, self.language, self._source = source.name, source.language, source

    def __len__(self) -> int:
        return len(self._source)

    def fingerprint(self) -> str:
        """Hex hash; differs from that of the source alone."""
        return digest("shared pictures merged", self._source.fingerprint(), length=64)

    def columns(self) -> Iterator[tuple[str, str, str]]:
        """As ``TableSource.columns``."""
        return self._source.columns()

    def encodings(self) -> dict[str, str]:
        """As ``TableSource.encodings``."""
        return self._source.encodings()

    def entities(self) -> Iterator[EntityRow | Rejection]:
        """Entities of the source, then one for each picture row under another name, with its texts."""
        for row in self._source.entities():
            yield row if isinstance(row, Rejection) else self._renamed(row)
        for picture in self._source.pictures() if self._groups.name_of else ():
            if isinstance(picture, PictureRow) and self._name(picture) != picture.entity:
                yield self._renamed(picture.entity_row())

    def pictures(self) -> Iterator[PictureRow | Rejection]:
        """Pictures of the source; one that repeats an earlier row's becomes a rejection that says so."""
        for row in self._source.pictures():
            if isinstance(row, Rejection):
                yield row
            elif row.row in self._groups.repeats:
                yield self._repeat(row)
            else:
                yield replace(row, entity=self._name(row))

    def _repeat(self, row: PictureRow) -> Rejection:
        first, name = self._groups.repeats[row.row], self._name(row)
        kept = f"{row.entity!r} is another name of {name!r}" if row.entity != name else "the picture is kept once"
        reason = f"the same picture as row {first}; {kept} (shared_pictures: merge)"
        return Rejection(file=row.file, row=row.row, reason=reason)

    def _renamed(self, row: EntityRow) -> EntityRow:
        name = self._name(row)
        return row if name == row.entity else replace(row, entity=name, aliases=(row.entity, *row.aliases))

    def _name(self, row: EntityRow | PictureRow) -> str:
        return self._groups.name_of.get(normalised(row.entity), row.entity)

    @cached_property
    def _groups(self) -> _Groups:
        rows_of: dict[str, list[tuple[int, str]]] = defaultdict(list)
        spelled: dict[str, str] = {}
        for row in self._source.pictures():
            if isinstance(row, PictureRow):
                name = normalised(row.entity)
                spelled.setdefault(name, row.entity)
                rows_of[hashlib.sha256(row.data).hexdigest()].append((row.row, name))
        shared = [rows for rows in rows_of.values() if len({name for _, name in rows}) > 1]
        repeats = {row: rows[0][0] for rows in shared for row, name in rows[1:] if name != rows[0][1]}
        return _Groups(_names(list(spelled), shared, spelled), repeats)


def _names(order: list[str], shared: list[list[tuple[int, str]]], spelled: dict[str, str]) -> dict[str, str]:
    """Normalised name -> the group's name, by the connected components of names that share a picture."""
    number = {name: i for i, name in enumerate(order)}
    edges = [(number[rows[0][1]], number[name]) for rows in shared for _, name in rows]
    if not edges:
        return {}
    left, right = zip(*edges, strict=True)
    graph = coo_array(([1] * len(edges), (left, right)), shape=(len(order), len(order)))
    _, group_of = connected_components(graph, directed=False)
    first: dict[int, str] = {}
    names = {name: first.setdefault(int(group_of[i]), spelled[name]) for name, i in number.items()}
    return {name: names[name] for name in (order[i] for i in sorted({*left, *right}))}
