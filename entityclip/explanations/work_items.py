"""The requests to a writer, built from the entities in staging."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from entityclip.data import pairs
from entityclip.data.rights import DEFAULT_RIGHTS, Rights
from entityclip.paths import DataLayout
from entityclip.schemas import ExplanationRequest

_RIGHTS = ["licence", "consent"]


class WorkItems(Protocol):
    """Requests that can be iterated repeatedly, always in the same order."""

    def __iter__(self) -> Iterator[ExplanationRequest]:
        """The requests, without the content of their pictures."""

    def with_pictures(self, request: ExplanationRequest) -> ExplanationRequest:
        """``request`` with the content of its picture files."""


class Requests:
    """One request per entity, in the order of the entity table; can be iterated repeatedly.

    An entity whose source-provided texts are in several languages gets one request per language. Its caption is the
    alphabetically first caption of its pictures, so that a new picture rarely changes it; without captions, its name.
    Rows that may not be used are ignored; an entity with only such rows gets no request.

    Args:
        staging: Folder that ``ingest`` wrote.
        pictures: How many pictures of its entity each request names at most: that of its caption, then those with the
            smallest hashes, so that a new picture rarely changes the choice. Pictures of the test split are never
            among them, since texts that describe these would inflate the recall that is measured on them.
        reasons: Entity id and language -> why the gate set an earlier text aside. If given, only these get a request.
        rights: Which rows may be used.
    """

    def __init__(
        self,
        staging: DataLayout,
        *,
        pictures: int = 0,
        reasons: Mapping[tuple[str, str], str] | None = None,
        rights: Rights = DEFAULT_RIGHTS,
    ) -> None:
        self._reasons = reasons
        self._entities = staging.entities
        self._usable = _Usable(rights)
        self._captions = _first_captions(staging, self._usable)
        self._source_provided = _source_provided(staging, self._usable)
        self._pictures = _Pictures(staging, self._captions, self._usable, most=int(pictures)) if pictures else None

    def __iter__(self) -> Iterator[ExplanationRequest]:
        for row in pairs.iter_rows(self._entities, columns=["entity_id", "entity", "category", "language", *_RIGHTS]):
            entity_id = row["entity_id"]
            if self._usable.is_forbidden(row):
                continue
            known = {"entity_id": entity_id, "entity": row["entity"], "category": row["category"] or ""}
            caption = self._captions.get(entity_id) or row["entity"]
            shown = self._pictures.hashes_of(entity_id) if self._pictures else ()
            for language, source_provided in self._source_provided.get(
                entity_id, {row["language"] or "en": {}}
            ).items():
                if self._reasons is not None and (entity_id, language) not in self._reasons:
                    continue
                fields = {"language": language, "source_provided": tuple(source_provided), "pictures_sha256": shown}
                reason = self._reasons[entity_id, language] if self._reasons is not None else ""
                yield ExplanationRequest(**known, caption=caption, reason=reason, **fields)

    def with_pictures(self, request: ExplanationRequest) -> ExplanationRequest:
        """``request`` with the content of its picture files."""
        if self._pictures is None or not request.pictures_sha256:
            return request
        return request.model_copy(update={"pictures": self._pictures.read(request.entity_id)})


class _Place(NamedTuple):
    """A picture: the order in which it is chosen, and where it is."""

    after_caption: bool
    sha256: str
    shard: int
    group: int
    row: int


class _Pictures:
    """For each entity, the pictures that its writer sees."""

    def __init__(self, staging: DataLayout, captions: dict[str, str], usable: _Usable, *, most: int) -> None:
        self._files = [pq.ParquetFile(path) for path in pairs.shards(staging.pairs)]
        self._found: dict[str, list[_Place]] = {}
        for entity, place in self._places(captions, usable):
            chosen = self._found.setdefault(entity, [])
            if place.sha256 not in {other.sha256 for other in chosen}:
                self._found[entity] = sorted([*chosen, place])[:most]

    def _places(self, captions: dict[str, str], usable: _Usable) -> Iterator[tuple[str, _Place]]:
        columns = ["entity_id", "caption", "image_sha256", "split", *_RIGHTS]
        for shard, file in enumerate(self._files):
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=columns)
                for row, (pair, may) in enumerate(zip(table.to_pylist(), usable.mask(table), strict=True)):
                    if may and pair["split"] not in ("test", "sealed"):
                        other = captions.get(pair["entity_id"], pair["caption"]) != pair["caption"]
                        yield pair["entity_id"], _Place(other, pair["image_sha256"], shard, group, row)

    def hashes_of(self, entity_id: str) -> tuple[str, ...]:
        """SHA-256 of the picture files; none for an entity without pictures."""
        return tuple(place.sha256 for place in self._found.get(entity_id, ()))

    def read(self, entity_id: str) -> tuple[bytes, ...]:
        """Content of the picture files."""
        return tuple(self._content(place) for place in self._found[entity_id])

    def _content(self, place: _Place) -> bytes:
        images = self._files[place.shard].read_row_group(place.group, columns=["image"])["image"]
        content: bytes = images[place.row].as_py()["bytes"]
        return content


class _Usable:
    """Filters rows by usage rights, and tracks which entities have allowed and forbidden rows."""

    def __init__(self, rights: Rights) -> None:
        self._rights = rights
        self._with: set[str] = set()
        self._without: set[str] = set()

    def mask(self, table: pa.Table) -> list[bool]:
        """For each row, whether it may be used. Earlier data versions have no consent column."""
        licences, consents = (
            table[name].to_pylist() if name in table.column_names else [None] * len(table) for name in _RIGHTS
        )
        return [not missing for missing in self._rights.missing_each(licences=licences, consents=consents)]

    def of(self, table: pa.Table) -> pa.Table:
        """The rows of ``table`` that may be used."""
        mask = pa.array(self.mask(table), pa.bool_())
        self._with.update(table.filter(mask)["entity_id"].to_pylist())
        self._without.update(table.filter(pc.invert(mask))["entity_id"].to_pylist())
        return table.filter(mask)

    def is_forbidden(self, entity: Mapping[str, str | None]) -> bool:
        """Whether a row of the entity is forbidden and none of its pictures and texts is allowed."""
        own = self._rights.missing(licence=entity.get("licence"), consent=entity.get("consent"))
        return (bool(own) or entity["entity_id"] in self._without) and entity["entity_id"] not in self._with


def _first_captions(staging: DataLayout, usable: _Usable) -> dict[str, str]:
    """Entity id -> the alphabetically first non-empty caption of its pictures; none of a sealed one."""
    first: dict[str, str] = {}
    for path in pairs.shards(staging.pairs):
        with pairs.reading(path):
            table = usable.of(pq.ParquetFile(path).read(columns=["entity_id", "caption", "split", *_RIGHTS]))
        captioned = table.filter(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(table["caption"])), 0))
        captioned = captioned.filter(pc.not_equal(pc.fill_null(captioned["split"], ""), "sealed"))
        for row in captioned.group_by("entity_id").aggregate([("caption", "min")]).to_pylist():
            entity, caption = row["entity_id"], row["caption_min"]
            first[entity] = min(first.get(entity, caption), caption)
    return first


def _source_provided(staging: DataLayout, usable: _Usable) -> dict[str, dict[str, dict[str, None]]]:
    """Entity id -> language -> distinct texts of the source, as ordered keys."""
    texts: dict[str, dict[str, dict[str, None]]] = defaultdict(dict)
    for path in pairs.shards(staging.source_provided):
        with pairs.reading(path):
            rows = usable.of(pq.ParquetFile(path).read()).to_pylist()
        for row in rows:
            texts[row["entity_id"]].setdefault(row["language"] or "en", {})[row["text"]] = None
    return texts
