"""Products that people changed in service, copied to ``feedback/``, where every later data version reads them.

The service's own file is never emptied: a rollback to an earlier release still needs what was added after it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from entityclip.data.pairs import normalised
from entityclip.data.sources.service_products import ServicePicture, ServiceProduct, ServiceProducts
from entityclip.monitoring.feedback import FeedbackPolicy
from entityclip.paths import ChangesLayout, Layout, StateLayout
from entityclip.schemas import Record
from entityclip.storage import PRIVATE_FILE, atomic_write

if TYPE_CHECKING:
    from entityclip.retrieval.index.change_history import ChangedEntity


class Names(dict[str, str]):
    """Id of an API key -> the name of its owner; the id itself for a key that is not known."""

    def __missing__(self, key: str) -> str:
        return key


class Copied(Record):
    """What one run copied."""

    products: int = 0
    removed: int = 0
    pictures: int = 0
    people: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """For a commit message; empty where nothing was copied."""
        if not self.products + self.removed:
            return ""
        parts = f"{self.products} added or changed with {self.pictures} new pictures, {self.removed} removed"
        return f"Products of the service by {', '.join(self.people) or 'unknown'}: {parts}"


def copy_products(
    layout: Layout,
    state: StateLayout,
    *,
    policy: FeedbackPolicy,
    names: Names,
    entities: Mapping[str, tuple[str, ...]],
    pictures: Mapping[str, str],
) -> Copied:
    """Copy what was changed since the last run; rows of a state folder that is gone stay as they are.

    Args:
        layout: The workspace; its feedback folder is there if it was ever committed.
        state: The service's state folder.
        policy: Licence and consent of the rows.
        names: Owners of the API keys.
        entities: entity_id -> name, other names and codes, of the data.
        pictures: SHA-256 of the source's own pictures -> entity_id; such a picture gives no second row.

    Raises:
        DataError: The service's file or a file of the feedback folder is damaged.
    """
    known, people, count = ServiceProducts(layout.feedback), set[str](), Counter[str]()
    before = {(row.entity_id, row.picture) for row in known.pictures}
    for changed in _changed(ChangesLayout(state.entities)):
        earlier = known.products.get(changed.entity_id)
        row = _product(changed, policy, names)
        if changed.entry is None:
            before_it = () if earlier is None else earlier.all_names
            every = dict.fromkeys((*before_it, *entities.get(row.entity_id, ())))
            row = row.model_copy(update={"names": "\n".join(every)})
        if changed.entry is None and earlier is None and changed.entity_id not in entities:
            continue  # the data never had it, or it was erased
        if row == earlier or (earlier is not None and changed.at and changed.at < earlier.at):
            continue
        added = _pictures(changed, names)
        for picture, file in zip(added, changed.pictures, strict=True):
            atomic_write(layout.feedback.picture(picture.picture), file.data, mode=PRIVATE_FILE)
        known.products[row.entity_id] = row
        known.pictures = [p for p in known.pictures if p.entity_id != row.entity_id] + added
        people |= {row.person, *(picture.person for picture in added)} - {""}
        count["removed" if changed.entry is None else "products"] += 1
    counted = [_usable(row, pictures, entities) for row in known.pictures]
    if count or counted != known.pictures:
        known.pictures = counted
        known.write()
    new = sum((row.entity_id, row.picture) not in before for row in counted)
    return Copied(products=count["products"], removed=count["removed"], pictures=new, people=tuple(sorted(people)))


def other_names(entities: Mapping[str, tuple[str, ...]], products: ServiceProducts) -> dict[str, str]:
    """Normalised other names and codes of the entities, and all names of removed products -> entity_id."""
    named: dict[str, str] = {}
    kept = {row.entity_id: row.all_names[1:] for row in products.products.values() if row.entry}
    gone = {row.entity_id: row.all_names for row in products.products.values() if not row.entry}
    others = {entity_id: names[1:] for entity_id, names in entities.items() if entity_id not in products.products}
    for known in (gone, others, kept):  # a name that is in use again is not that of a removed product
        named |= {normalised(name): entity_id for entity_id, names in known.items() for name in names}
    return named


def _changed(layout: ChangesLayout) -> Iterator[ChangedEntity]:
    if layout.database.exists():
        from entityclip.retrieval.index.change_history import changed_entities  # loads torch

        yield from changed_entities(layout)


def _product(changed: ChangedEntity, policy: FeedbackPolicy, names: Names) -> ServiceProduct:
    return ServiceProduct(
        entity_id=changed.entity_id,
        entry="" if changed.entry is None else changed.entry.model_dump_json(),
        keeps_source=changed.keeps_released,
        licence=policy.licence,
        consent=policy.consent,
        person=names[changed.key],
        at=changed.at,
    )


def _pictures(changed: ChangedEntity, names: Names) -> list[ServicePicture]:
    return [
        ServicePicture(
            entity_id=changed.entity_id,
            picture=hashlib.sha256(picture.data).hexdigest(),
            person=names[picture.key],
            at=picture.at,
        )
        for picture in changed.pictures
    ]


def _usable(
    row: ServicePicture, pictures: Mapping[str, str], entities: Mapping[str, tuple[str, ...]]
) -> ServicePicture:
    """The row with the reason why its picture gives none, as of the current data."""
    owner = pictures.get(row.picture)
    other = f", of {entities.get(owner or '', (owner,))[0]}" if owner != row.entity_id else ""
    return row.model_copy(update={"unusable": "" if owner is None else f"the source has this picture{other}"})
