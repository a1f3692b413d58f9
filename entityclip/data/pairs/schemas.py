"""The columns of the versioned tables."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from entityclip.schemas import ExplanationRecord

SCHEMA_VERSION = 1

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Hugging Face features of ``schema``: the image column is an image, the others are values."""
    features: dict[str, Any] = {}
    for field in schema:
        if field.name == "image":
            features["image"] = {"_type": "Image"}
        elif pa.types.is_list(field.type):
            features[field.name] = {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"}
        else:
            features[field.name] = {"dtype": str(field.type), "_type": "Value"}
    return features


def _described(fields: list[tuple[str, pa.DataType]]) -> pa.Schema:
    schema = pa.schema(fields)
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": _features(schema)}})})


_PROVENANCE = [("person", pa.string()), ("day", pa.string()), ("reason", pa.string())]
"""Who added the row to the data through service, feedback or review, when (an ISO day), and why; null for rows of
the source. Earlier data versions lack these columns."""

PAIRS = _described(
    [
        ("pair_id", pa.string()),
        ("image", _IMAGE),
        ("image_sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("caption", pa.string()),
        ("entity_id", pa.string()),
        ("entity", pa.string()),
        ("explanation", pa.string()),
        ("split", pa.string()),
        ("category", pa.string()),
        ("language", pa.string()),
        ("licence", pa.string()),
        ("consent", pa.string()),
        ("source", pa.string()),
        ("row", pa.int32()),
        *_PROVENANCE,
    ]
)
"""One row per picture. ``explanation`` is the first accepted text of the entity, or null."""

ENTITIES = _described(
    [
        ("entity_id", pa.string()),
        ("entity", pa.string()),
        ("aliases", pa.list_(pa.string())),
        ("category", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("date", pa.string()),
        ("language", pa.string()),
        ("licence", pa.string()),
        ("consent", pa.string()),
        ("source", pa.string()),
        *_PROVENANCE,
    ]
)
"""One row per entity, photographed or not. ``aliases`` are its other names and codes; ``tags`` and ``date`` (an ISO
day) are for filters; earlier data versions lack both."""

SOURCE_PROVIDED = _described(
    [
        ("entity_id", pa.string()),
        ("text", pa.string()),
        ("language", pa.string()),
        ("licence", pa.string()),
        ("consent", pa.string()),
        ("row", pa.int32()),
    ]
)
"""Staging only: explanations that the source provides, one row per text."""

NEAR_DUPLICATES = _described([("image_sha256", pa.string()), ("near_sha256", pa.string()), ("kind", pa.string())])
"""One row per two pictures that resemble each other or belong together; ``kind`` as in ``split_groups``."""

LABELS = _described([("image_sha256", pa.string()), ("lines", pa.list_(pa.string())), ("reader", pa.string())])
"""One row per picture that was read, also where nothing is printed on it; ``lines`` in reading order, without those
that hold personal data."""

EXPLANATIONS = _described([(name, pa.string()) for name in ExplanationRecord.model_fields])
"""One row per text about an entity; an entity may have several."""
