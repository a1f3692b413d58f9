"""What people decided about texts: kept as a CSV file in the workspace, and put into effect in staging."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from entityclip.data import pairs
from entityclip.errors import ConfigError, DataError, faults
from entityclip.explanations.stage import replace_texts
from entityclip.paths import DataLayout
from entityclip.schemas import Record
from entityclip.storage import csv_file, read_rows

Decision = Literal["accept", "edit", "reject"]


class Review(Record):
    """One decision: the text is sound in spite of the rules, is replaced by another, or is not to be used."""

    explanation_id: str = Field(min_length=1)
    entity_id: str
    entity: str
    rules: str = Field(description="The rules that the text broke, with a blank between them.")
    text: str = Field(description="As it was handed out.")
    decision: Decision
    edited_text: str = Field(default="", description="What takes its place.")
    reviewer: str = Field(min_length=1)
    minutes: float = Field(ge=0, le=1440, description="What the decision took.")
    day: date
    note: str = ""

    @model_validator(mode="after")
    def _edited_where_edited(self) -> Self:
        if (self.decision == "edit") != bool(self.edited_text.strip()):
            raise ValueError("edited_text belongs to the decision 'edit', and only to it")
        if not self.reviewer.strip():
            raise ValueError("the reviewer has no name")
        return self


COLUMNS = tuple(Review.model_fields)


# ---------------------------------------------------------------- the file
def read_reviews(path: Path) -> tuple[Review, ...]:
    """Every decision so far, one a text; none where there is no file.

    Raises:
        DataError: The file is not what ``add_reviews`` wrote; names the row.
    """
    if not path.exists():
        return ()
    try:
        rows = list(read_rows(path.read_bytes().decode("utf-8")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: damaged ({error}); bring it back: git checkout HEAD -- {path.name}") from error
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
    """Keep ``new`` beside the decisions that are there; returns how many changed. The same again changes nothing.

    Raises:
        ConfigError: A text was decided otherwise before, and ``overrule`` does not say that the new one holds.
    """
    known = {review.explanation_id: review for review in read_reviews(path)}
    changed = 0
    for review in new:
        before = known.get(review.explanation_id)
        if before and (before.decision, before.edited_text) == (review.decision, review.edited_text):
            continue
        if before and not overrule:
            raise ConfigError(
                f"{review.entity}: {before.reviewer} decided {before.decision!r} on {before.day}, now it is "
                f"{review.decision!r} ({review.explanation_id}); --overrule lets the new decision hold"
            )
        known[review.explanation_id] = review
        changed += 1
    if changed:
        _write(path, known.values())
    return changed


def _write(path: Path, reviews: Iterable[Review]) -> None:
    with csv_file(path, COLUMNS) as writer:
        for review in reviews:
            writer.write(review.model_dump(mode="json").values())


# ---------------------------------------------------------------- their effect
class Merged(Record):
    """What the decisions did to a batch: texts by decision, and who decided."""

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
    """Put the decisions into effect in staging's explanations; the table is replaced whole, or not at all.

    An accepted text stays and gets its reviewer, an edited one is replaced under the same origin, a rejected one is
    left out. To do it twice changes nothing.
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
        # An edited text may have gone to a person once more.
        while kept and (review := decided.get(kept["explanation_id"])):
            if review.decision == "accept" and kept.get("reviewer") == review.reviewer:
                break  # it is in effect already
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
    return row | {"explanation_id": key, "text": review.edited_text, "reviewer": review.reviewer}


def waived(reviews: Iterable[Review]) -> dict[str, frozenset[str]]:
    """Id of each accepted text -> the rules that it may break. Of other rules nobody has said anything."""
    return {r.explanation_id: frozenset(r.rules.split()) for r in reviews if r.decision == "accept"}
