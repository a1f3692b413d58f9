"""Near duplicates of pictures for the report: what they do to recall, and pairs of them side by side."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from entityclip.data.pairs import digest, read_frame
from entityclip.data.split_groups import ALIKE, read_near_duplicates
from entityclip.paths import DataLayout
from entityclip.reports.examples import read_pictures
from entityclip.schemas import EvalReport, Record, Split

SHOWN = 6
"""Pairs of each concern that are shown."""

Concern = Literal["in two splits", "of two entities", "in one split"]


class SimilarPictures(Record):
    """Two pictures that are near duplicates, or belong together by their split_group."""

    pictures: tuple[bytes, bytes]
    files: tuple[str, str]
    entities: tuple[str, str]
    splits: tuple[Split, Split]


class SimilarPairs(Record):
    """All pairs of one concern."""

    concern: Concern
    count: int
    shown: tuple[SimilarPictures, ...]


def similar_pairs(data: DataLayout) -> list[SimilarPairs]:
    """Pairs of pictures by concern, ``SHOWN`` of each; sampled by hash, so that the choice is repeatable.

    Raises:
        DataError: The data are damaged.
    """
    near = read_near_duplicates(data)
    if near is None or near.empty:
        return []
    columns = ["pair_id", "image_sha256", "entity_id", "entity", "split", "image.path"]
    rows = read_frame(data.pairs, columns=columns).drop_duplicates("image_sha256")
    first = near.merge(rows, on="image_sha256")
    found = first.merge(rows, left_on="near_sha256", right_on="image_sha256", suffixes=("", "_near"))
    found["order"] = [digest("pair", *ids) for ids in zip(found["pair_id"], found["pair_id_near"], strict=True)]
    two_entities = (found["entity_id"] != found["entity_id_near"]) & (found["kind"] == ALIKE)
    two_splits = ~two_entities & (found["split"] != found["split_near"])
    concerns: dict[Concern, pd.Series] = {
        "in two splits": two_splits,
        "of two entities": two_entities,
        "in one split": ~two_splits & ~two_entities,
    }
    return [
        SimilarPairs(concern=concern, count=int(chosen.sum()), shown=_shown(data, found[chosen]))
        for concern, chosen in concerns.items()
        if chosen.any()
    ]


def _shown(data: DataLayout, found: pd.DataFrame) -> tuple[SimilarPictures, ...]:
    first = found.sort_values("order").head(SHOWN)
    pictures = read_pictures(data, {*first["pair_id"], *first["pair_id_near"]})
    return tuple(
        SimilarPictures(
            pictures=(pictures[row["pair_id"]], pictures[row["pair_id_near"]]),
            files=(row["path"], row["path_near"]),
            entities=(row["entity"], row["entity_near"]),
            splits=(row["split"], row["split_near"]),
        )
        for row in first.to_dict("records")
    )


def near_duplicates_text(evaluation: EvalReport) -> str:
    """Recall with and without near duplicates of training pictures, in one line; empty where the data do not tell."""
    if evaluation.near_duplicates is None:
        return ""
    count = evaluation.near_duplicates
    if not count:
        return "No query is a near duplicate of a training picture of its entity."
    all_of_them = {m.index: m.value for m in evaluation.metrics if _first(m.name, m.direction, m.slice)}
    parts = [
        f"{m.index} {all_of_them[m.index]:.1f} with them, {m.value:.1f} [{m.low:.1f}, {m.high:.1f}] without"
        for m in evaluation.without_near_duplicates
        if _first(m.name, m.direction, m.slice)
    ]
    of = f"{count:,} of {evaluation.pictures:,} queries are near duplicates of training pictures of their entity"
    return f"{of}. R@1 by index: {'; '.join(parts)}." if parts else f"{of}."


def _first(name: str, direction: str, part: str) -> bool:
    return (name, direction, part) == ("R@1", "image_to_text", "all")
