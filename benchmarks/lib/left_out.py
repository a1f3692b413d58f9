"""Products that are left out of a drawn catalogue, added to the served index with two pictures, and queried."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from entityclip.data.sources.base import EntityRow, PictureRow
from entityclip.data.sources.catalog import CatalogSource
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import ChangesLayout, DataLayout
from entityclip.retrieval.index import Changes, EntityIndex, PictureIndex
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import EntityEntry, Rejection

LEFT_OUT = 60
"""Products that are drawn beside the catalogue."""

GIVEN = 2
"""Pictures that each of them is added with."""


class Catalogued:
    """The first ``products`` products of a drawn catalogue; they are the same as in a smaller drawing."""

    def __init__(self, source: CatalogSource, *, products: int) -> None:
        self.source, self.name, self.language = source, source.name, source.language
        names = list(dict.fromkeys(row.entity for row in source.entities() if isinstance(row, EntityRow)))
        self.kept = set(names[:products])

    def __len__(self) -> int:
        return sum(isinstance(row, PictureRow) and row.entity in self.kept for row in self.source.pictures())

    def fingerprint(self) -> str:
        """That of the drawing, and how much of it is read."""
        return f"{self.source.fingerprint()}-{len(self.kept)}"

    def entities(self) -> Iterator[EntityRow | Rejection]:
        """The products of the catalogue."""
        yield from (row for row in self.source.entities() if isinstance(row, Rejection) or row.entity in self.kept)

    def pictures(self) -> Iterator[PictureRow | Rejection]:
        """Their pictures."""
        yield from (row for row in self.source.pictures() if isinstance(row, Rejection) or row.entity in self.kept)

    def left_out(self) -> list[list[bytes]]:
        """The pictures of each product that is no part of the catalogue, in their order."""
        products: dict[str, list[bytes]] = defaultdict(list)
        for row in self.source.pictures():
            if isinstance(row, PictureRow) and row.entity not in self.kept:
                products[row.entity].append(row.data)
        return list(products.values())


def recalled(model: LoadedModel, data: DataLayout, left_out: list[list[bytes]], *, changes: Path) -> float:
    """R@1 in percent, each product once, of tags among the catalogue and all added products.

    Args:
        model: Trained and calibrated without them.
        data: The catalogue.
        left_out: Pictures of each product: the first two are given to the index, the others are queried.
        changes: Folder in which the service keeps what is added.
    """
    pictures = PictureIndex.build(model, data)  # as in a package
    entities = EntityIndex.build(model, data, pictures=pictures)
    kept = Changes(ChangesLayout(changes), fingerprint=model.card.fingerprint)
    service = Predictor(model, entities, pictures, changes=kept)
    ids = [
        service.put_entity(EntityEntry(entity=f"item {number:05d}"), theirs[:GIVEN])
        for number, theirs in enumerate(left_out)
    ]
    right = [
        np.mean([service.tag(Image.open(io.BytesIO(query)), k=1)[0].entity_id == wanted for query in theirs[GIVEN:]])
        for wanted, theirs in zip(ids, left_out, strict=True)
    ]
    return round(100 * float(np.mean(right)), 1)
