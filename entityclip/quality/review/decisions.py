"""Decisions of reviewers: stored as a CSV file in the workspace, and applied to staging."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from filelock import FileLock
from pydantic import Field, ValidationError, model_validator

from entityclip.data import pairs
from entityclip.errors import ConfigError, DataError, faults
from entityclip.explanations.stage import replace_texts
from entityclip.paths import DataLayout
from entityclip.schemas import Record
from entityclip.storage import csv_file, read_rows

Decision = Literal["accept", "edit", "reject"]
Table = Literal["explanations", "pairs"]

NEVER_WAIVED = frozenset(
    {"rows", "columns", "entity_missing", "caption_missing", "unknown_split", "picture_twice", "leak", "no_right"}
)
"""Rules of pairs that no reviewer can overrule: the source has to be corrected."""


class Review(Record):
    """One decision: keep a text or a picture in spite of the rules, replace the text, or drop it."""

    explanation_id: str = Field(min_length=1, description="Id of the text; of a picture, its pair_id.")
    entity_id: str
    entity: str
    rules: str = Field(description="The rules that it broke, with a blank between them.")
    text: str = Field(description="As it was exported; of a picture, its caption.")
    decision: Decision
    edited_text: str = Field(default="", description="The replacement.")
    reviewer: str = Field(min_length=1)
    minutes: float = Field(ge=0, le=1440, description="Time spent on the decision.")
    day: date
    note: str = ""
    table: Table = Field(default="explanations", description="pairs for a picture.")

    @model_validator(mode="after")
    def _edited_where_edited(self) -> Self:
        if (self.decision == "edit") != bool(self.edited_text.strip()):
            raise ValueError("edited_text belongs to the decision 'edit', and only to it")
        if not self.reviewer.strip():
            raise ValueError("the reviewer has no name")
        if self.table == "pairs" and self.decision == "edit":
            raise ValueError("a picture is accepted or rejected; correct its row in the source")
        if self.table == "pairs" and self.decision == "accept" and (fixed := NEVER_WAIVED & set(self.rules.split())):
            raise ValueError(f"no decision overrules {', '.join(sorted(fixed))}; correct the row in the source")
        return self

    def same_as(self, other: Review) -> bool:
        """Whether both decide the same about the same text."""
        mine, theirs = ((r.explanation_id, r.decision, r.edited_text) for r in (self, other))
        return mine == theirs


COLUMNS = tuple(Review.model_fields)


# ---------------------------------------------------------------- the file
def read_reviews(path: Path) -> tuple[Review, ...]:
    """All decisions so far, one per text; empty where there is no file.

    Raises:
        DataError: The file does not have the format of ``add_reviews``; names the row.
    """
    if not path.exists():
        return ()
    try:
        rows = list(read_rows(path.read_bytes().decode("utf-8")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: damaged ({error}); restore it: git checkout HEAD -- {path.name}") from error
    reviews = [_read(row, where=f"{path}, row {number}") for number, row in enumerate(rows, 1)]
    twice = [key for key, count in Counter(r.explanation_id for r in reviews).items() if count > 1]
    if twice:
        raise DataError(f"{path}: {twice[0]} is decided twice; keep one of the rows")
    return tuple(reviews)


def _read(row: Mapping[str, Any], *, where: str) -> Review:
    try:
        return Review.model_validate(row)
    except ValidationError as error:
        raise DataError(f"{where}: {faults(error)}; expected the columns {', '.join(COLUMNS)}") from error


def add_reviews(path: Path, new: Iterable[Review], *, overrule: bool = False) -> int:
    """Add ``new`` to the stored decisions; returns how many changed. Idempotent; one process at a time.

    Raises:
        ConfigError: A text has another decision already, and ``overrule`` is not set.
    """
    changed = 0
    with _changing(path) as known:
        for review in new:
            before = known.get(review.explanation_id)
            if before and before.same_as(review):
                continue
            if before and not overrule:
                raise ConfigError(
                    f"{review.entity}: {before.reviewer} decided {before.decision!r} on {before.day}, now it is "
                    f"{review.decision!r} ({review.explanation_id}); add --overrule to replace the earlier decision"
                )
            known[review.explanation_id] = review
            changed += 1
    return changed


def withdraw_reviews(path: Path, withdrawn: Iterable[Review], *, before: Iterable[Review] = ()) -> int:
    """Take decisions back and restore those that they replaced; returns how many were taken back.

    A decision that is no longer the stored one stays: a later decision has replaced it.
    """
    taken = 0
    earlier = {review.explanation_id: review for review in before}
    with _changing(path) as known:
        for review in withdrawn:
            key = review.explanation_id
            if key in known and known[key].same_as(review):
                del known[key]
                known |= {key: earlier[key]} if key in earlier else {}
                taken += 1
    return taken


@contextmanager
def _changing(path: Path) -> Iterator[dict[str, Review]]:
    """The stored decisions by text; the block may change them, and then they are written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.partial")):
        known = {review.explanation_id: review for review in read_reviews(path)}
        before = tuple(known.values())
        yield known
        if tuple(known.values()) != before:
            _write(path, known.values())


def _write(path: Path, reviews: Iterable[Review]) -> None:
    with csv_file(path, COLUMNS) as writer:
        for review in reviews:
            writer.write(review.model_dump(mode="json").values())


# ---------------------------------------------------------------- apply
class Merged(Record):
    """Texts of a batch by decision, and the reviewers."""

    accepted: int = 0
    edited: int = 0
    rejected: int = 0
    reviewers: tuple[str, ...] = ()

    def __add__(self, later: Merged) -> Merged:
        return Merged(
            accepted=self.accepted + later.accepted,
            edited=self.edited + later.edited,
            rejected=self.rejected + later.rejected,
            reviewers=tuple(sorted({*self.reviewers, *later.reviewers})),
        )

    @property
    def texts(self) -> int:
        """Texts that a person decided about."""
        return self.accepted + self.edited + self.rejected


def merge(staging: DataLayout, reviews: Iterable[Review]) -> Merged:
    """Apply the decisions to staging's explanations; the table is replaced atomically.

    An accepted text stays and gets its reviewer, an edited one is replaced and keeps its origin, a rejected one is
    dropped. Idempotent.
    """
    decided = {review.explanation_id: review for review in reviews}
    rows = pairs.iter_rows(staging.explanations)
    done: Counter[Decision] = Counter()
    names: set[str] = set()
    replace_texts(staging, _decided(rows, decided, done, names))
    return Merged(accepted=done["accept"], edited=done["edit"], rejected=done["reject"], reviewers=tuple(sorted(names)))


def _decided(
    rows: Iterable[dict[str, Any]], decided: Mapping[str, Review], done: Counter[Decision], names: set[str]
) -> Iterator[dict[str, Any]]:
    for row in rows:
        kept: dict[str, Any] | None = row
        # An edited text may have been reviewed again.
        while kept and (review := decided.get(kept["explanation_id"])):
            if review.decision == "accept" and kept.get("reviewer") == review.reviewer:
                break  # already applied
            done[review.decision] += 1
            names.add(review.reviewer)
            kept = _after(kept, review)
        if kept:
            yield kept


def _after(row: dict[str, Any], review: Review) -> dict[str, Any] | None:
    if review.decision == "reject":
        return None
    if review.decision == "accept":
        return row | {"reviewer": review.reviewer}
    key = pairs.digest("edited", row["explanation_id"], review.edited_text, review.reviewer)
    return row | {"explanation_id": key, "text": review.edited_text, "reviewer": review.reviewer, "doubts": ""}


class Waiver(NamedTuple):
    """What an accepted text or picture may break, or that a picture is rejected, and by whose decision."""

    rules: frozenset[str]
    person: str
    day: str
    """ISO 8601."""
    rejected: bool = False
    """Whether the picture stays out, also where it breaks no rule any more. ``merge`` drops rejected texts."""


def waived(reviews: Iterable[Review]) -> dict[str, Waiver]:
    """Id of each accepted text or picture -> the rules that it may break; other rules still apply. Of each rejected
    picture -> none, and that it stays out.
    """
    found: dict[str, Waiver] = {}
    for review in reviews:
        who = review.reviewer, review.day.isoformat()
        if review.decision == "accept":
            found[review.explanation_id] = Waiver(frozenset(review.rules.split()), *who)
        elif review.decision == "reject" and review.table == "pairs":
            found[review.explanation_id] = Waiver(frozenset(), *who, rejected=True)
    return found
