"""Indexes: entities and pictures as one model sees them, how they are searched, and what was changed since.

An index carries the fingerprint of the model that made it and is refused by every other model.
"""

from entityclip.index.entities import DEFAULT_MIX, EntityIndex, slice_of
from entityclip.index.pictures import PictureIndex

__all__ = ["DEFAULT_MIX", "EntityIndex", "PictureIndex", "slice_of"]
