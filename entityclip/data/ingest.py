"""Ingest: from a source to pair shards in staging, and to a file with a reason for every row that was not usable."""

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
from entityclip.errors import ConfigError, ImageError, SourceError
from entityclip.paths import DataLayout
from entityclip.schemas import IngestReport, Record, Rejection, Split
from entityclip.storage import csv_file

_SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}


def ingest(
    source: Source,
    *,
    staging: DataLayout,
    rejected: Path,
    val_share: float = 0.1,
    test_share: float = 0.1,
    entity_holdout: float = 0.0,
    progress: bool = True,
) -> IngestReport:
    """Read every row of ``source``, check its picture, and write what is usable to ``staging``.

    Memory stays flat: pictures pass through one by one. A row's own split is kept; rows without one are drawn
    by ``draw_split``. The same rows always give the same files.

    Args:
        source: Where the rows come from.
        staging: Emptied first; complete only once this function has returned.
        rejected: CSV with file, row, reason; replaced, or removed where nothing was rejected.
        val_share: Share of the pictures that go to val, 0 to 1.
        test_share: Share of the pictures that go to test, 0 to 1.
        entity_holdout: Share of the entities all of whose pictures go to test: the never-photographed slice.
        progress: Show a progress bar on standard error.

    Raises:
        ConfigError: The shares are impossible.
        SourceError: The source as a whole cannot be read, or not one of its pictures is usable.
    """
    shares = SplitShares.checked(val=val_share, test=test_share, entity_holdout=entity_holdout)
    started = time.monotonic()
    pairs.start(staging)
    refused = _RejectedRows(rejected)
    roster = _Roster(staging, source)
    for entity in source.entities():
        if isinstance(entity, Rejection):
            refused.add(entity)
        else:
            roster.add(entity)
    counts = _write_pairs(source, staging=staging, roster=roster, refused=refused, shares=shares, progress=progress)
    entities = roster.close()
    refused.close()
    usable = sum(counts.values())
    if not usable:
        raise SourceError(f"{source.name}: not one usable picture; {refused.summary()}")
    pairs.finish(staging, pairs=usable, entities=entities, **counts)
    return IngestReport(
        source=source.name,
        pairs=usable,
        entities=entities,
        rejected=refused.count,
        rejected_file=str(rejected) if refused.count else None,
        seconds=time.monotonic() - started,
    )


# ---------------------------------------------------------------- splits
class SplitShares(Record):
    """How pictures without a split of their own are shared out."""

    val: float
    test: float
    entity_holdout: float

    @classmethod
    def checked(cls, *, val: float, test: float, entity_holdout: float) -> SplitShares:
        """Shares that leave something to train on.

        Raises:
            ConfigError: One is below 0, or nothing is left for train.
        """
        if min(val, test, entity_holdout) < 0 or val + test >= 1 or entity_holdout >= 1:
            raise ConfigError(
                f"val_share {val}, test_share {test}, entity_holdout {entity_holdout}: expected 0 or more each, "
                "val and test together below 1, the holdout below 1"
            )
        return cls(val=val, test=test, entity_holdout=entity_holdout)


def draw_split(image_sha256: str, *, entity_id: str, shares: SplitShares) -> Split:
    """The split of a picture that has none of its own.

    Drawn by the picture's bytes, so the same picture under two captions of its entity never stands in two splits;
    and before that by its entity, so a held-out entity is in test with all its pictures.
    """
    if pairs.split_of(entity_id, val=0, test=shares.entity_holdout) == "test":
        return "test"
    return pairs.split_of(image_sha256, val=shares.val, test=shares.test)


# ---------------------------------------------------------------- pictures
def _write_pairs(
    source: Source,
    *,
    staging: DataLayout,
    roster: _Roster,
    refused: _RejectedRows,
    shares: SplitShares,
    progress: bool,
) -> dict[Split, int]:
    """Write the usable pictures; returns how many went to each split."""
    writer = pairs.PairsWriter(staging.pairs)
    with tqdm(total=len(source), desc="ingest", unit="picture", disable=not progress) as bar:
        for row in source.pictures():
            pair = row if isinstance(row, Rejection) else _pair(row, source=source, roster=roster, shares=shares)
            if isinstance(pair, Rejection):
                refused.add(pair)
            else:
                writer.add(pair)
            bar.update(row.row is not None)
    return writer.close()


def _pair(row: PictureRow, *, source: Source, roster: _Roster, shares: SplitShares) -> dict[str, Any] | Rejection:
    """The row as it is stored, or why it cannot be. The picture is kept without metadata, and its hash is of that."""
    own_split = _SPLIT_NAMES.get(row.split.casefold()) if row.split else None
    if row.split and not own_split:
        return Rejection(file=row.file, row=row.row, reason=f"split {row.split!r}; expected train, val or test")
    try:
        picture = decode(row.data, suffix=Path(row.file).suffix)
        stored = strip_metadata(row.data, picture=picture)
    except ImageError as error:
        return Rejection(file=row.file, row=row.row, reason=error.reason)
    entity = roster.add(_entity_of(row), pictured=True)
    sha256, entity_id = hashlib.sha256(stored).hexdigest(), pairs.entity_id(entity.identity)
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
        "split": own_split or draw_split(sha256, entity_id=entity_id, shares=shares),
        "category": row.category or entity.category,
        "language": row.language or entity.language or source.language,
        "licence": row.licence or entity.licence,
        "consent": row.consent or entity.consent,
        "source": row.source or source.name,
        "row": row.row,
    }


# ---------------------------------------------------------------- entities
def _entity_of(row: PictureRow) -> EntityRow:
    return EntityRow(
        entity=row.entity,
        row=row.row,
        category=row.category,
        language=row.language,
        licence=row.licence,
        consent=row.consent,
        explanations=row.explanations,
        tags=row.tags,
        date=row.date,
        key=row.key,
    )


def _joined(known: EntityRow, row: EntityRow) -> EntityRow:
    """``known`` with the aliases and tags of another row about it, and its date where none was known."""
    aliases, tags = (tuple(dict.fromkeys([*a, *b])) for a, b in ((known.aliases, row.aliases), (known.tags, row.tags)))
    return replace(known, aliases=aliases, tags=tags, date=known.date or row.date)


class _Roster:
    """The entities, each as the first row named it, and the texts that rows provide about them."""

    def __init__(self, staging: DataLayout, source: Source) -> None:
        self._staging, self._source = staging, source
        self._entities: dict[str, EntityRow] = {}
        self._source_provided = pairs.ShardWriter(
            staging.source_provided, pairs.SOURCE_PROVIDED, name="source_provided"
        )
        self._texts: set[str] = set()

    def add(self, row: EntityRow, *, pictured: bool = False) -> EntityRow:
        """The entity that ``row`` is about, with the name that its first row gave it.

        What a ``pictured`` row may be used for is said of that picture alone, so it does not become the entity's.
        """
        entity_id = pairs.entity_id(row.identity)
        known = self._entities.get(entity_id)
        if known is None:
            known = replace(row, explanations=())
            known = self._entities[entity_id] = replace(known, licence="", consent="") if pictured else known
        else:
            known = self._entities[entity_id] = _joined(known, row)
        for text in row.explanations:
            self._bring(entity_id, text, row)
        return known

    def _bring(self, entity_id: str, text: str, row: EntityRow) -> None:
        text = text.strip()
        key = pairs.digest(entity_id, unicodedata.normalize("NFKC", text))  # people read the text as it was written
        if text and key not in self._texts:
            self._texts.add(key)
            entity = self._entities[entity_id]
            language = row.language or entity.language or self._source.language
            rights = {"licence": row.licence or entity.licence, "consent": row.consent or entity.consent}
            self._source_provided.add(
                {"entity_id": entity_id, "text": text, "language": language, **rights, "row": row.row}
            )

    def close(self) -> int:
        """Write both tables; returns how many entities there are."""
        self._source_provided.close()
        return pairs.write_rows(self._staging.entities, pairs.ENTITIES, self._stored(), name="entities")

    def _stored(self) -> Iterator[dict[str, Any]]:
        for entity_id, row in self._entities.items():
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
                "source": self._source.name,
            }


# ---------------------------------------------------------------- rejected rows
class _RejectedRows:
    """CSV with file, row, reason; it gets its name when everything is in it."""

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
