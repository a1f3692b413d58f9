"""Ingest: writes the rows of a source to pair shards in staging, and a reason for every rejected row to a CSV file."""

from __future__ import annotations

import hashlib
import time
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from entityclip.data import pairs
from entityclip.data.images import decode, strip_metadata
from entityclip.data.sources.base import EntityRow, PictureRow, Source
from entityclip.data.split_groups import SplitGroups, split_groups
from entityclip.data.split_shares import USUAL_SHARES, SplitShares, draw_split, held_out
from entityclip.errors import ImageError, SourceError
from entityclip.paths import DataLayout
from entityclip.schemas import IngestReport, Rejection, Split
from entityclip.storage import csv_file

_SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "sealed": "sealed",
}


def ingest(
    source: Source,
    *,
    staging: DataLayout,
    rejected: Path,
    shares: SplitShares = USUAL_SHARES,
    progress: bool = True,
) -> IngestReport:
    """Read every row of ``source``, check its picture, and write usable rows to ``staging``.

    Pictures are processed one by one; about 1 kB of each stays in memory, to find near duplicates. A row keeps its own
    split; ``draw_split`` assigns one to the others, and pictures that belong together then share one
    (``split_groups``). The same rows always give the same files.

    Args:
        source: The rows.
        staging: Emptied first; complete only once this function has returned.
        rejected: CSV with file, row, reason; replaced, or removed if nothing was rejected.
        shares: How pictures without a split of their own are split.
        progress: Show a progress bar on standard error.

    Raises:
        SourceError: The source cannot be read, has no usable picture, or all of its pictures belong together.
    """
    started = time.monotonic()
    pairs.start(staging)
    refused = _RejectedRows(rejected)
    roster = _Roster(staging, source)
    for entity in source.entities():
        if isinstance(entity, Rejection):
            refused.add(entity)
        else:
            roster.add(entity)
    with split_groups(staging) as groups:
        drawn = _write_pairs(
            source, staging=staging, roster=roster, refused=refused, shares=shares, groups=groups, progress=progress
        )
        near_duplicates, counts = groups.keep_together(staging, drawn)
    entities = roster.close()
    refused.close()
    usable = sum(counts.values())
    if not usable:
        raise SourceError(f"{source.name}: no usable picture; {refused.summary()}")
    if drawn["train"] and not counts["train"]:
        raise SourceError(
            f"{source.name}: no picture is left to train on: {near_duplicates.largest:,} belong together, as near "
            "duplicates or by their split_group; expected a split_group for each burst or scene, or a column of splits"
        )
    pairs.finish(staging, pairs=usable, entities=entities, **counts)
    return IngestReport(
        source=source.name,
        pairs=usable,
        entities=entities,
        rejected=refused.count,
        rejected_file=str(rejected) if refused.count else None,
        near_duplicates=near_duplicates,
        seconds=time.monotonic() - started,
    )


# ---------------------------------------------------------------- pictures
def _write_pairs(
    source: Source,
    *,
    staging: DataLayout,
    roster: _Roster,
    refused: _RejectedRows,
    shares: SplitShares,
    groups: SplitGroups,
    progress: bool,
) -> dict[Split, int]:
    """Write the usable pictures; returns their number per split."""
    writer = pairs.PairsWriter(staging.pairs)
    with tqdm(total=len(source), desc="ingest", unit="picture", disable=not progress) as bar:
        for row in source.pictures():
            pair = (
                row
                if isinstance(row, Rejection)
                else _pair(row, source=source, roster=roster, shares=shares, groups=groups)
            )
            if isinstance(pair, Rejection):
                refused.add(pair)
            else:
                writer.add(pair)
            bar.update(row.row is not None)
    return writer.close()


def _pair(
    row: PictureRow, *, source: Source, roster: _Roster, shares: SplitShares, groups: SplitGroups
) -> dict[str, Any] | Rejection:
    """The stored row, or the reason for its rejection. The picture is stored, and hashed, without metadata."""
    own_split = _SPLIT_NAMES.get(row.split.casefold()) if row.split else None
    if row.split and not own_split:
        return Rejection(file=row.file, row=row.row, reason=f"split {row.split!r}; expected train, val, test or sealed")
    try:
        picture = decode(row.data, suffix=Path(row.file).suffix)
        stored = strip_metadata(row.data, picture=picture)
    except ImageError as error:
        return Rejection(file=row.file, row=row.row, reason=error.reason)
    entity = roster.add(row.entity_row(), pictured=True)
    rights = _rights(row, entity)
    sha256, entity_id = hashlib.sha256(stored).hexdigest(), entity.id
    split = own_split or draw_split(sha256, entity_id=entity_id, shares=shares)
    fixed = bool(own_split) or held_out(entity_id, shares=shares) in ("val", "test")
    groups.add(
        picture, sha256=sha256, entity_id=entity_id, split=split, fixed=fixed, split_group=row.split_group.strip()
    )
    return {
        "pair_id": pairs.pair_id(sha256, row.caption, entity.identity),
        "image": {"bytes": stored, "path": row.file},
        "image_sha256": sha256,
        "width": picture.width,
        "height": picture.height,
        "caption": row.caption,
        "entity_id": entity_id,
        "entity": entity.entity,
        "explanation": None,
        "split": split,
        "category": row.category or entity.category,
        "language": row.language or entity.language or source.language,
        **rights,
        "source": row.source or source.name,
        "row": row.row,
        **_provenance(row),
    }


def _rights(row: PictureRow, entity: EntityRow) -> dict[str, str]:
    """Licence and consent of a picture: its own, else those of its entity.

    What an entity was granted elsewhere, such as in service, does not hold for pictures of the source.
    """
    granted = entity if entity.source in ("", row.source) else replace(entity, licence="", consent="")
    return {"licence": row.licence or granted.licence, "consent": row.consent or granted.consent}


def _provenance(row: PictureRow | EntityRow) -> dict[str, str | None]:
    """Who, when and why; null for rows of the source itself."""
    return {name: getattr(row.provenance, name) or None for name in ("person", "day", "reason")}


# ---------------------------------------------------------------- entities
def _joined(known: EntityRow, row: EntityRow) -> EntityRow:
    """``known`` with the aliases and tags of another row about it, and its date if it has none.

    A row that only adds names comes second, whichever was first; the people who gave them are added to the others.
    """
    if known.names_only and not row.names_only:
        known, row = row, known
    aliases, tags = (tuple(dict.fromkeys([*a, *b])) for a, b in ((known.aliases, row.aliases), (known.tags, row.tags)))
    provenance = known.provenance.and_(row.provenance) if row.names_only else known.provenance
    return replace(known, aliases=aliases, tags=tags, date=known.date or row.date, provenance=provenance)


class _Roster:
    """The entities, named as in their first row, and their source-provided texts."""

    def __init__(self, staging: DataLayout, source: Source) -> None:
        self._staging, self._source = staging, source
        self._entities: dict[str, EntityRow] = {}
        self._source_provided = pairs.ShardWriter(
            staging.source_provided, pairs.SOURCE_PROVIDED, name="source_provided"
        )
        self._texts: set[str] = set()

    def add(self, row: EntityRow, *, pictured: bool = False) -> EntityRow:
        """The entity of ``row``, named as in its first row.

        Licence and consent of a ``pictured`` row apply only to that picture, so they are not copied to the entity.
        """
        entity_id = row.id
        known, own = self._entities.get(entity_id), replace(row, explanations=())
        if pictured:
            own = replace(own, licence="", consent="")
        known = self._entities[entity_id] = own if known is None else _joined(known, own)
        for text in row.explanations:
            self._add_text(entity_id, text, row)
        return known

    def _add_text(self, entity_id: str, text: str, row: EntityRow) -> None:
        text = text.strip()
        key = pairs.digest(entity_id, unicodedata.normalize("NFKC", text))  # the text itself is stored as written
        if text and key not in self._texts:
            self._texts.add(key)
            entity = self._entities[entity_id]
            language = row.language or entity.language or self._source.language
            rights = {"licence": row.licence or entity.licence, "consent": row.consent or entity.consent}
            self._source_provided.add(
                {"entity_id": entity_id, "text": text, "language": language, **rights, "row": row.row}
            )

    def close(self) -> int:
        """Write both tables; returns the number of entities."""
        self._source_provided.close()
        return pairs.write_rows(self._staging.entities, pairs.ENTITIES, self._stored(), name="entities")

    def _stored(self) -> Iterator[dict[str, Any]]:
        for entity_id, row in self._entities.items():
            if row.names_only:
                continue
            yield {
                "entity_id": entity_id,
                "entity": row.entity,
                "aliases": [alias for alias in dict.fromkeys(row.aliases) if alias != row.entity],
                "category": row.category,
                "tags": list(dict.fromkeys(row.tags)),
                "date": row.date,
                "language": row.language or self._source.language,
                "licence": row.licence,
                "consent": row.consent,
                "source": row.source or self._source.name,
                **_provenance(row),
            }


# ---------------------------------------------------------------- rejected rows
class _RejectedRows:
    """CSV with file, row, reason; renamed into place when complete."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, ExitStack()
        self._writer = self._file.enter_context(csv_file(path, Rejection.model_fields))
        self._first: Rejection | None = None
        self.count = 0

    def add(self, rejection: Rejection) -> None:
        self._first = self._first or rejection
        self.count += 1
        self._writer.write(rejection.model_dump().values())

    def close(self) -> None:
        self._file.close()
        if not self.count:
            self._path.unlink(missing_ok=True)

    def summary(self) -> str:
        if self._first is None:
            return "it has no rows"
        first = self._first
        where = first.file if first.row is None else f"{first.file}, row {first.row}"
        return f"{self.count:,} reasons are in {self._path}, the first: {where}: {first.reason}"
