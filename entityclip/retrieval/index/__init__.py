"""Indexes: entities and pictures as one model sees them, how they are searched, and what was changed since.

An index carries the fingerprint of the model that made it and is refused by every other model.
"""

from entityclip.retrieval.index.catalog import Catalog, TextMatches
from entityclip.retrieval.index.changes import Changes
from entityclip.retrieval.index.entities import EntityIndex, slice_of
from entityclip.retrieval.index.fulltext import FullText
from entityclip.retrieval.index.mixture import DEFAULT_MIXTURE
from entityclip.retrieval.index.pictures import MapShards, PictureIndex
from entityclip.retrieval.index.snapshot import ReleaseIndexes, Snapshot

__all__ = [
    "DEFAULT_MIXTURE",
    "Catalog",
    "Changes",
    "EntityIndex",
    "FullText",
    "MapShards",
    "PictureIndex",
    "ReleaseIndexes",
    "Snapshot",
    "TextMatches",
    "slice_of",
]
