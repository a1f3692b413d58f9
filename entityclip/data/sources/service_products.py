"""Products that people added, changed or removed in service, as rows of a source and as changes of another one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pydantic import Field, field_validator

from entityclip.data.pairs import digest
from entityclip.data.sources.base import EntityRow, PictureRow, Provenance, read_picture
from entityclip.errors import ImageError
from entityclip.paths import FeedbackLayout
from entityclip.schemas import EntityEntry, Record, Rejection
from entityclip.storage import PRIVATE_FILE, csv_file, read_records

SERVICE = "service"
"""Value of the ``source`` column of such rows."""

RESTORE = "restore it: dvc checkout --force feedback.dvc"
"""What to do about a damaged file of feedback."""

R = TypeVar("R", bound=Record)


class ServiceProduct(Record):
    """The last state of one product; a row of ``service_products.csv``."""

    entity_id: str = Field(min_length=1)
    entry: str = Field(description="Its EntityEntry as JSON; '' where it was removed.")
    keeps_source: bool = Field(description="Whether the pictures count that the source has of it.")
    licence: str = ""
    consent: str = ""
    person: str = Field(description="Who changed it last; '' where that is not known.")
    at: str = Field(description="Time of this change in ISO 8601, likewise.")
    names: str = Field(default="", description="Names and codes of a product that was removed, one a line.")

    @field_validator("entry")
    @classmethod
    def _is_entry(cls, entry: str) -> str:
        if entry:
            EntityEntry.model_validate_json(entry)
        return entry

    @property
    def texts(self) -> EntityEntry | None:
        """The entry; None where the product was removed."""
        return EntityEntry.model_validate_json(self.entry) if self.entry else None

    @property
    def all_names(self) -> tuple[str, ...]:
        """Its name, other names and codes; those that it had, where it was removed."""
        texts = self.texts
        return tuple(self.names.splitlines()) if texts is None else (texts.entity, *texts.aliases)

    @property
    def provenance(self) -> Provenance:
        """Who, when and why."""
        return Provenance(self.person, self.at[:10], "product of the service")


class ServicePicture(Record):
    """A picture that was added to a product; a row of ``service_pictures.csv``."""

    entity_id: str = Field(min_length=1)
    picture: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file.")
    person: str = Field(description="Who added it; '' where that is not known.")
    at: str = Field(description="When, in ISO 8601, likewise.")
    unusable: str = Field(default="", description="Why it gives no row; '' where it does.")


class ServiceProducts:
    """The products in a feedback folder.

    Raises:
        DataError: A file is damaged; names the row.
    """

    def __init__(self, folder: FeedbackLayout) -> None:
        self._folder = folder
        self.products = {row.entity_id: row for row in read_records(folder.products, ServiceProduct, remedy=RESTORE)}
        self.pictures = read_records(folder.product_pictures, ServicePicture, remedy=RESTORE)

    def fingerprint(self) -> str:
        """Hash of all rows. The files of the pictures are named by their hashes."""
        rows: list[Record] = [*self.products.values(), *self.pictures]
        return digest(*(row.model_dump_json() for row in rows))

    def write(self) -> None:
        """Write both files, the products last."""
        _write(self._folder.product_pictures, ServicePicture, self.pictures)
        _write(self._folder.products, ServiceProduct, self.products.values())

    # ------------------------------------------------------------ rows
    def entity_rows(self, replaced: Mapping[str, EntityRow]) -> Iterator[EntityRow]:
        """One row per product that was not removed.

        Args:
            replaced: entity_id -> row of the source that a product replaces; its licence and consent still hold.
        """
        for number, product in enumerate(self.products.values(), 1):
            if (texts := product.texts) is not None:
                rights = replaced.get(product.entity_id, product)
                yield EntityRow(
                    entity=texts.entity,
                    row=number,
                    aliases=texts.aliases,
                    category=texts.category or "",
                    language=texts.language,
                    licence=rights.licence,
                    consent=rights.consent,
                    explanations=texts.explanations,
                    tags=texts.tags,
                    date="" if texts.date is None else texts.date.isoformat(),
                    source=SERVICE,
                    entity_id=product.entity_id,
                    provenance=product.provenance,
                )

    def picture_rows(self) -> Iterator[PictureRow | Rejection]:
        """One row per added picture, to train on: the frozen evaluation set stays as it is."""
        for number, picture in enumerate(self.pictures, 1):
            product, file = self.products.get(picture.entity_id), f"pictures/{picture.picture}"
            texts = None if product is None else product.texts
            try:
                data = read_picture(self._folder.root.resolve(), file)
            except ImageError as error:
                yield Rejection(file=file, row=number, reason=error.reason)
                continue
            if picture.unusable or product is None or texts is None:
                yield Rejection(file=file, row=number, reason=picture.unusable or "its product was removed")
                continue
            yield PictureRow(
                file=file,
                row=number,
                data=data,
                caption=texts.entity,
                entity=texts.entity,
                category=texts.category or "",
                language=texts.language,
                licence=product.licence,
                consent=product.consent,
                split="train",
                source=SERVICE,
                entity_id=picture.entity_id,
                provenance=Provenance(picture.person, picture.at[:10], "product of the service"),
            )

    # ------------------------------------------------------------ changes of other rows
    def entity_over(self, row: EntityRow) -> EntityRow | Rejection | None:
        """Another source's row about an entity: None where a product replaces it, a rejection where it was removed."""
        product = self.products.get(row.id)
        if product is None:
            return row
        return None if product.entry else _removed(row.entity, row.row, product)

    def picture_over(self, row: PictureRow, *, own: bool, replaced: Mapping[str, EntityRow]) -> PictureRow | Rejection:
        """Another source's picture with the name of the product, or the reason why it is no longer used.

        Args:
            row: The row.
            replaced: As for ``entity_rows``; a picture without licence or consent has those of its entity there.
            own: Whether it is of the workspace's source. Feedback is not given up with the pictures of the source.
        """
        product = self.products.get(row.entity_row().id)
        if product is None:
            return row
        if (texts := product.texts) is None:
            return _removed(row.file, row.row, product)
        if own and not product.keeps_source:
            reason = f"its product was given other pictures in service{_by(product)}"
            return Rejection(file=row.file, row=row.row, reason=reason)
        named = replace(row, entity=texts.entity, entity_id=product.entity_id, category=texts.category or row.category)
        rights = replaced.get(product.entity_id, row)
        named = replace(named, licence=row.licence or rights.licence, consent=row.consent or rights.consent)
        return replace(named, explanations=(), tags=(), date="")


def _removed(file: str, row: int, product: ServiceProduct) -> Rejection:
    return Rejection(file=file, row=row, reason=f"its product was removed in service{_by(product)}")


def _by(product: ServiceProduct) -> str:
    return (f" by {product.person}" if product.person else "") + (f" on {product.at[:10]}" if product.at else "")


# ---------------------------------------------------------------- files
def _write(path: Path, kind: type[R], rows: Iterable[R]) -> None:
    with csv_file(path, kind.model_fields, mode=PRIVATE_FILE) as writer:
        for row in rows:
            writer.write(row.model_dump(mode="json").values())
