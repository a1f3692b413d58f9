"""A source followed by what came back from the service: confirmed pictures, changed products, and other names."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from entityclip.data.pairs import digest
from entityclip.data.sources.base import EntityRow, PictureRow, Provenance, Source
from entityclip.data.sources.other_names import OtherNames
from entityclip.data.sources.service_products import SERVICE, ServiceProducts
from entityclip.data.sources.table import TableSource
from entityclip.paths import FeedbackLayout
from entityclip.schemas import Rejection

FEEDBACK = "feedback"
"""Value of the ``source`` column of pictures that users confirmed or corrected."""

RETURNED = (FEEDBACK, SERVICE)
"""Values of the ``source`` column of rows that do not come from the workspace's source."""


def with_feedback(source: Source, feedback: FeedbackLayout) -> Source:
    """The source with what came back from the service; the source itself if nothing did.

    Raises:
        SourceError: The feedback table is damaged.
        DataError: A file of products or of names is damaged.
    """
    products, names = ServiceProducts(feedback), OtherNames(feedback.names)
    rows = _Confirmed(feedback) if feedback.table.exists() else None
    if (rows is None or not len(rows)) and not products.products and not len(names):
        return source
    return _Joined(source, rows, products, names)


class _Confirmed:
    """The pictures that users confirmed, each with who did so."""

    def __init__(self, feedback: FeedbackLayout) -> None:
        self._rows = TableSource(feedback.table, name=FEEDBACK)
        with feedback.table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        names = ("person", "day", "reason")
        self._from = [(row.get("entity_id") or "", *(row.get(name) or "" for name in names)) for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    def fingerprint(self) -> str:
        """Hash of the table and its pictures."""
        return self._rows.fingerprint()

    def pictures(self, language: str) -> Iterator[PictureRow | Rejection]:
        """Its rows; ``language`` is of those that name none."""
        for row in self._rows.pictures():
            if isinstance(row, Rejection):
                yield row
            else:
                entity_id, *given = self._from[row.row - 1]
                named = replace(row, source=FEEDBACK, language=row.language or language, entity_id=entity_id)
                yield replace(named, provenance=Provenance(*given))


class _Joined:
    """Rows of ``first`` as products change them, then confirmed pictures, then pictures of products."""

    def __init__(
        self, first: Source, confirmed: _Confirmed | None, products: ServiceProducts, names: OtherNames
    ) -> None:
        self.name, self.language = first.name, first.language
        self._first, self._confirmed, self._products, self._names = first, confirmed, products, names

    def fingerprint(self) -> str:
        """Hash of all of them."""
        confirmed = "" if self._confirmed is None else self._confirmed.fingerprint()
        names = (self._names.fingerprint(),) if len(self._names) else ()
        return digest(self._first.fingerprint(), confirmed, self._products.fingerprint(), *names)

    def __len__(self) -> int:
        return len(self._first) + len(self._confirmed or ()) + len(self._products.pictures)

    def entities(self) -> Iterator[EntityRow | Rejection]:
        """Products of the service, which name their entities, other entities of the first source, then other names."""
        yield from self._products.entity_rows(self._replaced)
        for row in self._first.entities():
            over = row if isinstance(row, Rejection) else self._products.entity_over(row)
            if over is not None:
                yield over
        for row in self._names.rows():
            product = self._products.products.get(row.id)
            if product is None or product.entry:
                yield row

    def pictures(self) -> Iterator[PictureRow | Rejection]:
        """Pictures of all three."""
        theirs = () if self._confirmed is None else self._confirmed.pictures(self.language)
        for rows, own in ((self._first.pictures(), True), (theirs, False)):
            for row in rows:
                if isinstance(row, Rejection):
                    yield row
                else:
                    yield self._products.picture_over(row, own=own, replaced=self._replaced)
        yield from self._products.picture_rows()

    @cached_property
    def _replaced(self) -> dict[str, EntityRow]:
        """entity_id -> the first source's row about a product of the service."""
        replaced: dict[str, EntityRow] = {}
        for row in self._first.entities():
            if isinstance(row, EntityRow) and row.id in self._products.products:
                replaced.setdefault(row.id, row)
        return replaced
