"""Indexes: entities and pictures as one model sees them, how they are searched, and what was changed since.

An index carries the fingerprint of the model that made it and is refused by every other model.
"""

from entityclip.index.catalog import Catalog, Words
from entityclip.index.changes import Changes
from entityclip.index.entities import DEFAULT_MIX, EntityIndex, slice_of
from entityclip.index.fulltext import FullText
from entityclip.index.pictures import Over, PictureIndex
from entityclip.index.snapshot import Released, Snapshot

__all__ = [
    "DEFAULT_MIX",
    "Catalog",
    "Changes",
    "EntityIndex",
    "FullText",
    "Over",
    "PictureIndex",
    "Released",
    "Snapshot",
    "Words",
    "slice_of",
]
