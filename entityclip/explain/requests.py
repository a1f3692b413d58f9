"""What a writer gets to know about the entities in staging."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pyarrow.compute as pc
import pyarrow.parquet as pq

from entityclip import pairs
from entityclip.layout import DataLayout
from entityclip.records import ExplanationRequest


class Requests:
    """One request per entity, in the order of the entity table; may be gone through again and again.

    An entity whose brought texts are in several languages gives one request per language. Its caption is the
    alphabetically first of its pictures' captions, so that a new picture rarely changes it; without one, its name.

    Args:
        staging: What ``ingest`` wrote.
        pictures: Whether each request names a picture: the one that its caption belongs to.
    """

    def __init__(self, staging: DataLayout, *, pictures: bool = False) -> None:
        self._entities = staging.entities
        self._captions = _first_captions(staging)
        self._brought = _brought(staging)
        self._pictures = _Pictures(staging, self._captions) if pictures else None

    def __iter__(self) -> Iterator[ExplanationRequest]:
        for row in pairs.iter_rows(self._entities, columns=["entity_id", "entity", "category", "language"]):
            entity_id = row["entity_id"]
            known = {"entity_id": entity_id, "entity": row["entity"], "category": row["category"] or ""}
            caption = self._captions.get(entity_id) or row["entity"]
            picture = self._pictures.hash_of(entity_id) if self._pictures else ""
            for language, brought in self._brought.get(entity_id, {row["language"] or "en": {}}).items():
                asked = {"language": language, "brought": tuple(brought), "picture_sha256": picture}
                yield ExplanationRequest(**known, caption=caption, **asked)

    def with_picture(self, request: ExplanationRequest) -> ExplanationRequest:
        """``request`` with the file of the picture that it names."""
        if self._pictures is None or not request.picture_sha256:
            return request
        return request.model_copy(update={"picture": self._pictures.read(request.entity_id)})


class _Pictures:
    """For each entity, the picture that its caption belongs to."""

    def __init__(self, staging: DataLayout, captions: dict[str, str]) -> None:
        self._files = [pq.ParquetFile(path) for path in pairs.shards(staging.pairs)]
        self._found: dict[str, tuple[str, int, int, int]] = {}  # entity id -> hash, shard, row group, row in it
        for shard, file in enumerate(self._files):
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, columns=["entity_id", "caption", "image_sha256"]).to_pylist()
                for row, pair in enumerate(rows):
                    entity = pair["entity_id"]
                    if captions.get(entity, pair["caption"]) == pair["caption"]:
                        self._found.setdefault(entity, (pair["image_sha256"], shard, group, row))

    def hash_of(self, entity_id: str) -> str:
        """SHA-256 of the picture's file; empty for an entity that was never photographed."""
        return self._found[entity_id][0] if entity_id in self._found else ""

    def read(self, entity_id: str) -> bytes:
        """The picture's file."""
        _, shard, group, row = self._found[entity_id]
        images = self._files[shard].read_row_group(group, columns=["image"])["image"]
        content: bytes = images[row].as_py()["bytes"]
        return content


def _first_captions(staging: DataLayout) -> dict[str, str]:
    """Entity id -> the alphabetically first caption among its pictures that is not empty."""
    first: dict[str, str] = {}
    for path in pairs.shards(staging.pairs):
        with pairs.reading(path):
            table = pq.read_table(path, columns=["entity_id", "caption"])
        said = table.filter(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(table["caption"])), 0))
        for row in said.group_by("entity_id").aggregate([("caption", "min")]).to_pylist():
            entity, caption = row["entity_id"], row["caption_min"]
            first[entity] = min(first.get(entity, caption), caption)
    return first


def _brought(staging: DataLayout) -> dict[str, dict[str, dict[str, None]]]:
    """Entity id -> language -> the distinct texts that the source brought along (keys, in its order)."""
    texts: dict[str, dict[str, dict[str, None]]] = defaultdict(dict)
    for row in pairs.iter_rows(staging.brought):
        texts[row["entity_id"]].setdefault(row["language"] or "en", {})[row["text"]] = None
    return texts
