"""What pages show of entities: their texts, photographs that can be shown, and what was changed in service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from bentos.runtime.thumbnails import Thumbnails
from entityclip.data.thumbnails import thumbnail
from entityclip.errors import ImageError
from entityclip.schemas import EntityEntry, Record

if TYPE_CHECKING:
    from entityclip.retrieval.index import Snapshot
    from entityclip.retrieval.predictor import Predictor

MOST_LISTED = 200
"""Entities of each kind that a list of changes names, the latest of those that were added or changed."""


class EntityFacts(Record):
    """One entity of the release in service, with what was changed since."""

    entity_id: str
    entity: str
    aliases: tuple[str, ...]
    category: str
    language: str
    tags: tuple[str, ...]
    date: str
    explanation: str = Field(description="Its first explanation, as it was written; '' if none.")
    pictures: int = Field(description="Photographs that the index holds as vectors.")
    shown: tuple[str, ...] = Field(description="pair_id of each photograph that can be shown.")
    changed: bool = Field(description="Added or changed in service, after the release.")
    awaits_data: bool = Field(description="The data of the release lack its name or one of its photographs.")


class Changed(Record):
    """What was changed in service since the release."""

    added: tuple[EntityFacts, ...] = Field(description="Not in the release, the latest first.")
    changed: tuple[EntityFacts, ...] = Field(description="In the release with other texts or photographs.")
    removed: tuple[str, ...] = Field(description="Names of entities of the release that were removed.")
    count: int = Field(description="All of them, also those beyond ``MOST_LISTED`` of a kind.")


def entity_facts(predictor: Predictor, thumbnails: Thumbnails, entity_id: str) -> EntityFacts | None:
    """The entity with this id; None where there is none."""
    snapshot = predictor.catalog.now()
    number = snapshot.number_of(entity_id)
    if number is None:
        return None
    row = snapshot.rows([number]).iloc[0].to_dict()
    changed = number >= len(snapshot.gone)
    return EntityFacts(
        entity_id=entity_id,
        entity=str(row["entity"]),
        aliases=_texts(row.get("aliases")),
        category=_text(row.get("category")),
        language=_text(row.get("language")),
        tags=_texts(row.get("tags")),
        date=_text(row.get("date"))[:10],
        explanation=_text(row.get("explanation")),
        pictures=int(row["pictures"]),
        shown=(*_kept(thumbnails, snapshot, entity_id, number), *(_added(snapshot, number) if changed else ())),
        changed=changed,
        awaits_data=changed and predictor.catalog.awaits_data(entity_id),
    )


def changed_entities(predictor: Predictor, thumbnails: Thumbnails) -> Changed:
    """What was added, changed and removed in service."""
    snapshot = predictor.catalog.now()
    late = list(reversed(snapshot.added.rows["entity_id"].tolist()))
    released = snapshot.released.entities
    new = [entity_id for entity_id in late if released.row_of(entity_id) is None]
    known = [entity_id for entity_id in late if released.row_of(entity_id) is not None]
    gone = released.rows[snapshot.gone & ~released.rows["entity_id"].isin(known).to_numpy()]

    def facts(entity_ids: list[str]) -> tuple[EntityFacts, ...]:
        found = (entity_facts(predictor, thumbnails, entity_id) for entity_id in entity_ids[:MOST_LISTED])
        return tuple(one for one in found if one is not None)

    return Changed(
        added=facts(new),
        changed=facts(known),
        removed=tuple(gone["entity"].iloc[:MOST_LISTED]),
        count=len(late) + len(gone),
    )


def entity_entry(predictor: Predictor, facts: EntityFacts) -> EntityEntry:
    """The texts of an entity as they can be changed; of one that came with the release, those that the index holds."""
    kept = None if predictor.changes is None else predictor.changes.entry(facts.entity_id)
    return kept or EntityEntry.model_validate(
        {
            "entity": facts.entity[:300],
            "aliases": [alias[:300] for alias in facts.aliases if alias.strip()][:50],
            "category": facts.category[:300] or None,
            "tags": [tag[:300] for tag in facts.tags if tag.strip()][:50],
            "date": facts.date or None,
            "language": facts.language or "en",
            "explanations": [facts.explanation[:4000]] if facts.explanation.strip() else [],
        }
    )


def entity_picture(predictor: Predictor, thumbnails: Thumbnails, entity_id: str, pair_id: str) -> bytes | None:
    """A small JPEG of one photograph; None where it cannot be shown."""
    facts = entity_facts(predictor, thumbnails, entity_id)
    if facts is None or pair_id not in facts.shown:
        return None
    if (stored := thumbnails.jpeg(pair_id)) is not None:
        return stored
    changes = predictor.changes
    added = None if changes is None else changes.pictures(entity_id).get(pair_id)
    try:
        return None if added is None else thumbnail(added)
    except ImageError:
        return None


def _kept(thumbnails: Thumbnails, snapshot: Snapshot, entity_id: str, number: int) -> tuple[str, ...]:
    """Stored photographs of the release that still show this entity."""

    def there(pair_id: str) -> bool:
        pictures = snapshot.released.pictures_named([pair_id])
        return len(pictures) == 1 and not snapshot.gone_pictures[pictures[0]] and snapshot.owner[pictures[0]] == number

    return tuple(filter(there, thumbnails.of(entity_id)))


def _added(snapshot: Snapshot, number: int) -> tuple[str, ...]:
    """Photographs that were added in service."""
    first = len(snapshot.gone_pictures)
    late = np.flatnonzero(snapshot.owner[first:] == number) + first
    return tuple(row["pair_id"] for row in snapshot.picture_rows(late))


def _text(value: object) -> str:
    """'' for a column that an older index lacks, and for a missing value."""
    return value if isinstance(value, str) else ""


def _texts(values: object) -> tuple[str, ...]:
    return tuple(map(str, values)) if isinstance(values, list | tuple | np.ndarray) else ()
