"""Erasure: finds the rows of a request, writes the data without them, and keeps a record.

The record holds no personal data: values are stored as keyed hashes (HMAC-SHA256 with a salt per record), which cannot
be reversed. They can be compared with a given value, so that an erased row is recognised if a source still
contains it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from entityclip.data import pairs
from entityclip.data.label_lines import copy_label_lines
from entityclip.data.split_groups import copy_near_duplicates
from entityclip.errors import ConfigError, DataError, faults
from entityclip.paths import DataLayout
from entityclip.schemas import Record

Kind = Literal["entity", "picture", "text", "person"]
_IDS = ("entity_id", "pair_id", "image_sha256", "explanation_id")
_ORIGIN = ("generator", "prompt_version", "reader", "day", "reason")
_PEOPLE = ("person", "reviewer")
"""Columns with the names of people who gave or decided a row. It is not about them: it stays, without the name."""
_NOT_ABOUT = (*_IDS, "explanation", "split", "language", "licence", *_ORIGIN, *_PEOPLE, "entry")
"""Columns that a text search skips; ``explanation`` is a copy from the table of explanations, ``entry`` is JSON, whose
values a reader adds to the row."""
_NAMING = ("entity", "aliases", "caption", "text", *_IDS)
SHORTEST = 3


def folded(text: str) -> str:
    """``text`` normalised for comparison: NFKC, case-folded, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


# ---------------------------------------------------------------- the request
class ErasureRequest(Record):
    """What to erase."""

    kind: Kind
    value: str = Field(
        description="Id or name of an entity; pair_id or image_sha256 of a picture; a text, which erases every row "
        "that contains it; or the name of a person who gave rows, which takes the name out of them."
    )

    @classmethod
    def of(
        cls, *, entity: str | None, picture: str | None, text: str | None, person: str | None = None
    ) -> ErasureRequest:
        """The request for the one given argument.

        Raises:
            ConfigError: Not exactly one argument is given, or the text is too short to be specific.
        """
        given = {"entity": entity, "picture": picture, "text": text, "person": person}
        named = [(kind, given[kind]) for kind in get_args(Kind) if given[kind] is not None]
        if len(named) != 1:
            raise ConfigError("expected exactly one of --entity ID, --picture ID, --text TEXT and --person NAME")
        ((kind, value),) = named
        if not value or not value.strip():
            raise ConfigError(f"--{kind}: is empty; expected an id, a name or a text")
        # Two Japanese characters are a family name, two Latin letters are a part of most words.
        if kind in ("text", "person") and len(folded(value)) < (SHORTEST if value.isascii() else 2):
            raise ConfigError(
                f"--{kind} {value!r}: too short, many rows would match; expected at least {SHORTEST} characters"
            )
        return cls(kind=kind, value=value.strip())


class Subject:
    """The ids and texts that a request covers, extended by matching rows.

    Args:
        request: The erasure request. Matching rows extend it: a text to the entities that it names, a pair to its
            picture, so that other captions of the same picture are erased as well.
    """

    def __init__(self, request: ErasureRequest) -> None:
        self.request, value = request, request.value
        self.entities = {value, pairs.entity_id(value)} if request.kind == "entity" else set[str]()
        self.pictures = {value} if request.kind == "picture" else set[str]()
        self.text = folded(value) if request.kind == "text" else ""
        self._person = _whole(folded(value)) if request.kind in ("text", "person") else None
        self.people = {folded(value)} if self._person else set[str]()
        """Names of people, as the rows have them, that later rows must not carry."""
        self.words: set[str] = set()
        """Ids, names and texts of the erased rows."""
        self.dropped: set[str] = set()
        """Captions, explanations and words of searches of the erased rows."""

    @property
    def size(self) -> int:
        """Number of known ids and texts; it grows while rows extend the subject."""
        return len(self.entities) + len(self.pictures) + len(self.words)

    def about(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of any table is to be erased."""
        named = row.get("entity_id") or pairs.entity_id(row.get("entity") or "")
        if named in self.entities or not self.pictures.isdisjoint(
            (row.get("pair_id"), row.get("image_sha256"), row.get("picture"))
        ):
            return True
        return bool(self.text) and any(self.text in folded(text) for text in _texts(row))

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is to be erased, or names the person who gave it."""
        return self.about(row) or any(self._given_by(row[name]) for name in _PEOPLE if row.get(name))

    def unnamed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row without the person among those who gave it."""
        kept = {name: self._others(row[name]) for name in _PEOPLE if row.get(name) and self._given_by(row[name])}
        return {**row, **kept}

    def _given_by(self, names: str) -> bool:
        return self._person is not None and bool(self._person.search(folded(names)))

    def _others(self, names: str) -> str:
        """``names``, separated by commas, without the person; '' where a comma is part of the name."""
        others = [name for name in names.split(", ") if not self._given_by(name)]
        return "" if len(others) == len(names.split(", ")) else ", ".join(others)

    def add_names(self, row: Mapping[str, Any]) -> None:
        """Remember how a row writes the person's name."""
        for names in (row[name] for name in _PEOPLE if row.get(name)):
            self.people |= {folded(name) for name in (names, *names.split(", ")) if self._given_by(name)}

    def add_identifiers(self, row: Mapping[str, Any]) -> None:
        """Extend the subject by a matching row."""
        if self.text and "aliases" in row:
            self.entities.add(row["entity_id"])
        if self.pictures and "image_sha256" in row:
            self.pictures |= {row[name] for name in ("pair_id", "image_sha256") if name in row}
        self.words.update(_naming(row))
        if "aliases" not in row:
            self.dropped.update(row[name] for name in ("caption", "text", "words") if row.get(name))

    def spare(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Remove ids and texts from ``words`` that remaining rows also contain."""
        for row in rows:
            self.words.difference_update(_naming(row))

    def mentioned(self, text: str) -> bool:
        """Whether a value in a report or a database names erased data."""
        if self.text and self.text in folded(text):
            return True
        if self.request.kind == "person":
            return self._given_by(text)
        if text in self.words or text in self.entities or text in self.pictures:
            return True
        return any(len(word) >= (6 if word.isascii() else 3) and word in text for word in self.words)


def _whole(name: str) -> re.Pattern[str]:
    """Finds a name in folded text, in other scripts than Latin also inside longer words."""
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)" if name.isascii() else re.escape(name))


def _texts(row: Mapping[str, Any]) -> Iterator[str]:
    for name, value in row.items():
        if isinstance(value, str) and name not in _NOT_ABOUT:
            yield value
        elif isinstance(value, list):
            yield from value
        elif isinstance(value, Mapping):
            yield value.get("path") or ""


def _naming(row: Mapping[str, Any]) -> Iterator[str]:
    for name in _NAMING:
        value = row.get(name)
        yield from value if isinstance(value, list) else [value] if value else []


# ---------------------------------------------------------------- the data
TABLES = {
    "entities": list(pairs.ENTITIES.names),
    "pairs": [*(name for name in pairs.PAIRS.names if name != "image"), "image.path"],
    "explanations": list(pairs.EXPLANATIONS.names),
    "labels": list(pairs.LABELS.names),
}
"""Tables of a data version with the columns that identify the subject of a row."""


def without(data: DataLayout, subject: Subject, *, into: DataLayout) -> dict[str, int]:
    """Write ``data`` without the rows of ``subject``, and without its name in rows that it gave.

    Every pair gets the first remaining text of its entity.

    Returns:
        Table -> number of erased rows.

    Raises:
        DataError: The data are damaged, or no pair would be left.
    """
    before = pairs.require_complete(data)
    pairs.start(into)
    first: dict[str, str] = {}
    for row in _remaining(data.explanations, subject):
        first.setdefault(row["entity_id"], row["text"])
    kept = pairs.PairsWriter(into.pairs)
    for row in _remaining(data.pairs, subject):
        kept.add({**row, "explanation": first.get(row["entity_id"])})
    of_split = kept.close()
    left = {"pairs": sum(of_split.values())}
    if not left["pairs"]:
        raise DataError(f"{data.root}: no pair would be left; delete the workspace and its remote instead")
    for name, schema in (("entities", pairs.ENTITIES), ("explanations", pairs.EXPLANATIONS)):
        folder, target = getattr(data, name), getattr(into, name)
        left[name] = pairs.write_rows(target, schema, _remaining(folder, subject), name=name)
    copy_near_duplicates(data, into=into)
    copy_label_lines(data, into=into, without=subject.about)
    pairs.finish(into, **left, **of_split)
    return {name: before[name] - count for name, count in left.items() if name in before}


def _remaining(folder: Path, subject: Subject) -> Iterator[dict[str, Any]]:
    return (subject.unnamed(row) for row in pairs.iter_rows(folder) if not subject.about(row))


# ---------------------------------------------------------------- the record
class Erasure(Record):
    """The record of an erasure: keyed hashes, counts, dates and the operator. No personal data."""

    id: str
    kind: Kind
    request: str = Field(description="Keyed hash of the request; repeating the request resumes this record.")
    by: str = Field(description="Name of the operator.")
    since: datetime
    finished: datetime | None = Field(default=None, description="None: interrupted; run the same command again.")
    salt: str
    digests: tuple[str, ...] = Field(description="Keyed hashes of the erased entities, pictures, texts and names.")
    versions: tuple[str, ...] = Field(description="DVC hashes of the deleted folders.")
    releases: tuple[str, ...] = Field(description="Releases made of such data; they can no longer be restored.")
    models: tuple[str, ...] = Field(description="Fingerprints of models that were trained on such data.")
    counts: dict[str, int] = Field(description="Place -> number of items with erased rows.")

    def digest(self, kind: str, value: str) -> str:
        """The keyed hash of a value in this record."""
        return hmac.new(bytes.fromhex(self.salt), f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()[:32]

    def holds(self, kind: Kind, value: str) -> bool:
        """Whether this entity id, picture hash, text or name of a person was erased."""
        return self.digest(kind, folded(value) if kind in ("text", "person") else value) in self.digests

    def is_of(self, request: ErasureRequest) -> bool:
        """Whether this record belongs to the request."""
        return self.request == self.digest("request", f"{request.kind} {folded(request.value)}")


def digests_of(erasure: Erasure, subject: Subject, request: ErasureRequest) -> tuple[str, ...]:
    """Keyed hashes of everything that a source must not reintroduce."""
    known = [("entity", value) for value in subject.entities] + [("picture", value) for value in subject.pictures]
    known += [("person", name) for name in subject.people]
    if request.kind == "text":
        known += [("text", folded(value)) for value in (request.value, *subject.dropped)]
    return tuple(sorted(erasure.digest(kind, value) for kind, value in known))


def read_erasures(folder: Path) -> tuple[Erasure, ...]:
    """Every erasure of a workspace, oldest first; empty without a folder.

    Raises:
        DataError: A record is damaged. Continuing could reintroduce erased rows.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(Erasure.model_validate_json(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            why = faults(error) if isinstance(error, ValidationError) else str(error)
            raise DataError(f"{path}: damaged ({why}); restore it: git checkout HEAD -- {path}") from None
    return tuple(sorted(found, key=lambda erasure: erasure.since))
