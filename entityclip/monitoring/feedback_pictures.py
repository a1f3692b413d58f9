"""Which pictures people's judgements vouch for, and which claims need a second opinion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

import pandas as pd
from pydantic import Field

from entityclip.monitoring.feedback import FeedbackPolicy, JudgedRow
from entityclip.schemas import Record

ACCEPTED = [
    "file",
    "entity_id",
    "entity",
    "caption",
    "split",
    "licence",
    "consent",
    "callers",
    "person",
    "day",
    "reason",
]
"""Columns of ``accepted_images``."""


def accepted_images(
    rows: Iterable[JudgedRow], *, policy: FeedbackPolicy, own: int, names: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Pictures that become rows of the data, as a table that ``sources.table`` reads; all of them are trained on.

    A picture counts for the one entity that more callers say it shows than deny; where two entities claim it, it
    counts for neither. Of one caller's judgements about one picture and entity the last one holds. Pictures that
    one key alone confirms are bounded, the oldest first: ``max_share_per_key`` of ``own``, the number of the source's
    own pictures, or as many as the key may bring of one entity where that is more. ``names`` has the names of the
    people by their keys, '' for one who must not be named; each row says who confirmed the picture, when the last of
    them did, and how.
    """
    last = {(row.key, row.picture, row.entity_id): row for row in rows if row.picture and not row.unusable}
    votes: Counter[tuple[str, str]] = Counter()
    against: Counter[tuple[str, str]] = Counter()
    for row in last.values():
        (against if row.verdict == "wrong" else votes)[row.picture, row.entity_id] += 1
    known = {row.entity_id: row.entity for row in last.values()}
    for_it: dict[tuple[str, str], list[JudgedRow]] = {}
    for row in last.values():
        if row.verdict != "wrong":
            for_it.setdefault((row.picture, row.entity_id), []).append(row)
    sure = sorted(pair for pair, n in votes.items() if n >= _needed(for_it[pair], policy=policy) and n > against[pair])
    claims = Counter(picture for picture, _ in sure)
    most = max(policy.max_per_entity, int(policy.max_share_per_key * own))
    beyond = _beyond(last.values(), {pair for pair in sure if claims[pair[0]] == 1 and votes[pair] == 1}, most=most)
    return pd.DataFrame(
        [
            {
                "file": f"pictures/{picture}",
                "entity_id": entity_id,
                "entity": known[entity_id],
                "caption": known[entity_id],
                "split": "train",  # the frozen evaluation set stays as it is
                "licence": policy.licence,
                "consent": policy.consent,
                "callers": votes[picture, entity_id],
                **_provenance(for_it[picture, entity_id], names or {}),
            }
            for picture, entity_id in sure
            if claims[picture] == 1 and (picture, entity_id) not in beyond
        ],
        columns=ACCEPTED,
    )


def _needed(rows: Iterable[JudgedRow], *, policy: FeedbackPolicy) -> int:
    """Keys that must agree; about an entity that the data do not know, at least two."""
    return max(policy.min_agreeing_keys, 2 if all(row.new_entity for row in rows) else 1)


def _provenance(rows: list[JudgedRow], names: Mapping[str, str]) -> dict[str, str]:
    """Who confirmed a picture, when the last of them did, and how."""
    return {
        "person": ", ".join(sorted({names.get(row.key, row.key) for row in rows} - {""})),
        "day": max(row.day for row in rows).isoformat(),
        "reason": f"feedback: {', '.join(sorted({row.verdict for row in rows}))}",
    }


def _beyond(rows: Iterable[JudgedRow], alone: set[tuple[str, str]], *, most: int) -> set[tuple[str, str]]:
    """Of the pairs of picture and entity that rest on one key ``alone``, those after the first ``most`` of each key."""
    count: Counter[str] = Counter()
    beyond: set[tuple[str, str]] = set()
    for row in rows:
        pair = row.picture, row.entity_id
        if row.verdict != "wrong" and pair in alone:
            count[row.key] += 1
            if count[row.key] > most:
                beyond.add(pair)
    return beyond


Doubt = Literal["few", "contradicted", "two_entities", "share", "new"]


class DoubtfulClaim(Record):
    """A picture or words that somebody says show or mean an entity, and that are not accepted yet."""

    picture: str = Field(description="SHA-256 of the picture; '' for words.")
    words: str = Field(default="", description="Words that were searched for; '' for a picture.")
    entity_id: str
    entity: str
    release: str = Field(description="Version that had answered last.")
    right: int = Field(description="Callers who say that it shows the entity, or that they mean it.")
    wrong: int = Field(description="Callers who deny it.")
    doubt: Doubt = Field(
        description="Too few callers agree; as many deny it; it is claimed for another entity as well; its one caller "
        "has confirmed as many pictures as one caller may; or one caller names an entity that the data do not know."
    )


def doubtful_claims(rows: Iterable[JudgedRow], *, policy: FeedbackPolicy, own: int) -> list[DoubtfulClaim]:
    """Claims that a second opinion decides, in the order of their first judgement; arguments as ``accepted_images``.

    Claims that more callers deny than support are refused already, and are not among them.
    """
    rows = list(rows)
    table = accepted_images(rows, policy=policy, own=own)
    accepted = set(zip(table["file"].str.removeprefix("pictures/"), table["entity"], strict=True))
    last = {(row.key, row.picture, row.entity_id): row for row in rows if row.picture and not row.unusable}
    voices: dict[tuple[str, str], list[JudgedRow]] = {}
    for row in last.values():
        voices.setdefault((row.picture, row.entity_id), []).append(row)
    sides = {pair: _sides(judged) for pair, judged in voices.items()}
    supported = Counter(picture for (picture, _), (right, wrong) in sides.items() if right > wrong)
    found = []
    for (picture, entity_id), judged in voices.items():
        right, wrong = sides[picture, entity_id]
        if right and right >= wrong and (picture, judged[-1].entity) not in accepted:
            new = all(row.new_entity for row in judged)
            alone = "few" if right < policy.min_agreeing_keys else "new" if new and right < 2 else "share"
            doubt = "contradicted" if right == wrong else "two_entities" if supported[picture] > 1 else alone
            found.append(
                DoubtfulClaim(
                    picture=picture,
                    entity_id=entity_id,
                    entity=judged[-1].entity,
                    release=judged[-1].release,
                    right=right,
                    wrong=wrong,
                    doubt=doubt,  # type: ignore[arg-type]  # checked by the record
                )
            )
    return found


def _sides(judged: Iterable[JudgedRow]) -> tuple[int, int]:
    """How many support a claim, and how many deny it."""
    wrong = [row.verdict == "wrong" for row in judged]
    return len(wrong) - sum(wrong), sum(wrong)
