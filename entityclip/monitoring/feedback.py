"""What becomes of people's judgements: which are usable, and how often they agree.

A judgement that cannot be used is kept with the reason. What one caller can do is bounded: so many judgements a day,
so many about one entity, none that outweighs what others say, and a small share of all pictures. A picture of an
entity that the data do not know becomes a row, and the entity a new one, once a second caller or a reviewer agrees.
Words without a picture are dropped here unless the policy keeps them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from types import MappingProxyType
from typing import Literal, Protocol

import pandas as pd
from pydantic import Field

from entityclip.data import pairs
from entityclip.data.images import decode
from entityclip.errors import ImageError
from entityclip.schemas import Record

Verdict = Literal["right", "wrong", "missing"]


class FeedbackPolicy(Record):
    """Which judgements count; part of the workspace's ``entityclip.yaml``."""

    min_new_images: int = Field(default=100, ge=1, description="New pictures that trigger a retraining.")
    min_agreeing_keys: int = Field(default=1, ge=1, description="API keys that must agree before a picture counts.")
    max_daily_per_key: int = Field(default=200, ge=1, description="Judgements of one API key that count per day.")
    max_per_entity: int = Field(default=20, ge=1, description="Pictures of one entity that one API key may add in all.")
    max_share_per_key: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Pictures confirmed by one API key alone, as a share of the source's own pictures.",
    )
    products: bool = Field(
        default=True,
        description="Whether products that people add, change or remove in service are so in the next data version.",
    )
    keep_words: bool = Field(
        default=False,
        description="Whether words that people searched for are kept, to become another name of the product that two "
        "API keys say they mean.",
    )
    licence: str = Field(default="", description="Licence that callers grant for their pictures; the gate checks it.")
    consent: str = Field(default="", description="Consent of the people shown on them.")


class Judgement(Protocol):
    """One row of the service's spool."""

    @property
    def id(self) -> str:
        """Hash of the rest."""
        ...

    @property
    def release(self) -> str:
        """Version that had answered."""
        ...

    @property
    def key(self) -> str:
        """Id of the caller's API key."""
        ...

    @property
    def verdict(self) -> Verdict:
        """The entity was right, was wrong, or should have been found."""
        ...

    @property
    def entity_id(self) -> str:
        """Of the entity that is judged; '' where only its name is known."""
        ...

    @property
    def entity(self) -> str:
        """Its name."""
        ...

    @property
    def text(self) -> str:
        """The words that were searched for; '' where there were none."""
        ...

    @property
    def picture(self) -> bytes:
        """What was shown; b'' where only a text was."""
        ...


class JudgedRow(Record):
    """One judgement and what became of it; a row of ``judged.csv``."""

    id: str
    day: date = Field(description="When it was ingested.")
    release: str
    key: str
    verdict: Verdict
    entity_id: str
    entity: str
    picture: str = Field(description="SHA-256 of the picture; '' where there was none.")
    unusable: str = Field(default="", description="Why its picture or its words cannot be used; '' where they can.")
    flood: bool = Field(default=False, description="Beyond what one caller may say; not counted anywhere.")
    new_entity: bool = Field(default=False, description="The data did not know the entity when it was ingested.")
    words: str = Field(default="", description="What was searched for without a picture; '' unless it is kept.")


# ---------------------------------------------------------------- ingestion
class Intake:
    """Sorts judgements, one after the other.

    Args:
        before: Everything ingested so far.
        entities: entity_id -> name, of the data.
        pictures: SHA-256 of the data's own pictures -> entity_id.
        policy: Bounds.
        removed: Ids of the entities that were removed in service.
        other_names: Normalised other names and codes, and names of removed entities -> entity_id.
        why_not_kept: Given words and the entity that they are judged for: the reason why they cannot become its name,
            '' where they can. None where no words are kept.
    """

    def __init__(
        self,
        before: Iterable[JudgedRow],
        entities: Mapping[str, str],
        pictures: Mapping[str, str],
        *,
        policy: FeedbackPolicy,
        removed: Collection[str] = (),
        other_names: Mapping[str, str] = MappingProxyType({}),
        why_not_kept: Callable[[str, str], str] | None = None,
    ) -> None:
        self._names = {**other_names, **{pairs.normalised(name): key for key, name in entities.items()}}
        self._entities, self._pictures, self._policy, self._removed = entities, pictures, policy, removed
        self._why_not_kept = why_not_kept
        self._seen: set[str] = set()
        self._a_day: Counter[tuple[str, date]] = Counter()
        self._about: Counter[tuple[str, str]] = Counter()
        for row in before:
            self._count(row)

    def take(self, judgement: Judgement, *, day: date) -> JudgedRow | None:
        """What becomes of a judgement; None for one that was ingested before."""
        if judgement.id in self._seen:
            return None
        row = self._judged(judgement, day)
        self._count(row)
        return row

    def _judged(self, judgement: Judgement, day: date) -> JudgedRow:
        named = pairs.entity_id(judgement.entity) if judgement.entity.strip() else ""
        entity_id = judgement.entity_id or self._names.get(pairs.normalised(judgement.entity), named)
        row = JudgedRow(
            id=judgement.id,
            day=day,
            release=judgement.release,
            key=judgement.key,
            verdict=judgement.verdict,
            entity_id=entity_id,
            entity=self._entities.get(entity_id, judgement.entity),
            picture=hashlib.sha256(judgement.picture).hexdigest() if judgement.picture else "",
        )
        words = "" if judgement.picture else " ".join(judgement.text.split())
        flood = self._flood(row)
        unusable = flood or self._unusable(row, judgement.picture, words)
        return row.model_copy(
            update={
                "flood": bool(flood),
                "unusable": unusable,
                "new_entity": row.entity_id not in self._entities,
                "words": "" if unusable else words,
            }
        )

    def _flood(self, row: JudgedRow) -> str:
        policy = self._policy
        if self._a_day[row.key, row.day] >= policy.max_daily_per_key:
            return f"more than {policy.max_daily_per_key} judgements of one key on one day"
        if row.verdict != "wrong" and self._about[row.key, row.entity_id] >= policy.max_per_entity:
            return f"more than {policy.max_per_entity} pictures of one entity from one key"
        return ""

    def _unusable(self, row: JudgedRow, picture: bytes, words: str) -> str:
        if not picture and not words:
            return "neither a picture nor words"
        if row.entity_id in self._removed:
            return "the entity was removed in service"
        if not picture:
            return self._unusable_words(words, row.entity_id)
        if row.entity_id not in self._entities and row.entity_id != pairs.entity_id(row.entity):
            return "the data know no such entity, and its id is not that of its name"
        if (owner := self._pictures.get(row.picture)) is not None:
            other = "" if owner == row.entity_id else f", of {self._entities.get(owner, owner)}"
            return f"the data have this picture{other}"
        try:
            decode(picture)
        except ImageError as error:
            return error.reason
        return ""

    def _unusable_words(self, words: str, entity_id: str) -> str:
        if self._why_not_kept is None:
            return "no picture; feedback.keep_words is off, so words alone give no row"
        if entity_id not in self._entities:
            return "the data know no such entity"
        return self._why_not_kept(words, entity_id)

    def _count(self, row: JudgedRow) -> None:
        self._seen.add(row.id)
        self._a_day[row.key, row.day] += 1
        if row.verdict != "wrong" and not row.unusable:
            self._about[row.key, row.entity_id] += 1


# ---------------------------------------------------------------- how good the answers were
def agreement(rows: Iterable[JudgedRow]) -> pd.DataFrame:
    """How people judged the answers, by week and release, in percent with Wilson's 95 % intervals.

    Columns: week (its Monday), release, figure, value, low, high, judged. ``recall``: of the entities that people
    say were to be found, those that were; ``precision``: of the answers that were judged, those that were right.
    """
    counted = pd.DataFrame([{**row.model_dump(), "week": _monday(row.day)} for row in rows if not row.flood])
    columns = ["week", "release", "figure", "value", "low", "high", "judged"]
    lines: list[dict[str, object]] = []
    for (week, release), part in counted.groupby(["week", "release"]) if len(counted) else ():
        right = int((part["verdict"] == "right").sum())
        for figure, failed in (("recall", "missing"), ("precision", "wrong")):
            judged = right + int((part["verdict"] == failed).sum())
            if judged:
                value, low, high = _share(right, judged)
                line = (week, release, figure, value, low, high, judged)
                lines.append(dict(zip(columns, line, strict=True)))
    return pd.DataFrame(lines, columns=columns)


def _share(right: int, judged: int) -> tuple[float, float, float]:
    from scipy import stats  # slow to import, and every command reads this module's settings

    found = stats.binomtest(right, judged).proportion_ci(method="wilson")
    return 100 * right / judged, 100 * float(found.low), 100 * float(found.high)


def _monday(day: date) -> date:
    return date.fromordinal(day.toordinal() - day.weekday())
