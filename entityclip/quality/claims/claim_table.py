"""The table of checked claims: one row per claim, with its verdict and its evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from entityclip.schemas import ClaimCount
from entityclip.storage import atomic_path

ClaimVerdict = Literal["supported", "contradicted", "not checkable"]
COLUMNS = [
    "position",
    "explanation_id",
    "entity_id",
    "language",
    "attribute",
    "value",
    "verdict",
    "reason",
    "evidence",
    "best_alternative",
    "contradicted_below",
    "supported_above",
    "stated_by",
    "others",
    "unusual",
]
"""``position`` is the text's row. ``evidence``: log odds, by the pictures, of its value against the best alternative;
missing where the claim was not exchanged. ``stated_by``: how many of the ``others``, the other entities of the
category, have a text with the same claim; ``unusual`` where hardly any does, unless the attribute is varied."""

READER_COLUMNS = ["champion_verdict", "reader_answer", "drawn"]
"""Further columns where a second reader is set: the verdict without it, its answer ('' where it did not read the text),
and whether the text was drawn to measure agreement."""


def write_claims(path: Path, claims: pd.DataFrame | None) -> None:
    """Replace the Parquet file with these rows; remove it where claims were not checked."""
    if claims is None:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pandas(claims, preserve_index=False), temporary)


def claim_counts(claims: pd.DataFrame | None) -> tuple[ClaimCount, ...]:
    """How many claims of each attribute have which verdict."""
    if claims is None or claims.empty:
        return ()
    counts = pd.crosstab(claims["attribute"], claims["verdict"])
    return tuple(
        ClaimCount(
            attribute=str(attribute),
            supported=int(row.get("supported", 0)),
            contradicted=int(row.get("contradicted", 0)),
            not_checkable=int(row.get("not checkable", 0)),
        )
        for attribute, row in counts.iterrows()
    )


def contradictions(claims: pd.DataFrame, texts: int) -> pd.Series:
    """(texts,) what the pictures contradict in each text, by position; missing where they contradict nothing."""
    wrong = claims[claims["verdict"] == "contradicted"]
    return _by_text(wrong, wrong["reason"], texts)


def unusual_claims(claims: pd.DataFrame, texts: int) -> pd.Series:
    """(texts,) what hardly any other text of the category says, by position; missing where there is nothing."""
    alone = claims[claims["unusual"].astype(bool)]
    counts = alone[["stated_by", "others"]].astype("str")
    return _by_text(alone, "stated for " + counts["stated_by"] + " of " + counts["others"] + " others", texts)


def _by_text(claims: pd.DataFrame, why: pd.Series, texts: int) -> pd.Series:
    lines = claims["attribute"] + " " + claims["value"].map(repr).astype("str") + ": " + why
    return lines.groupby(claims["position"]).agg("; ".join).reindex(range(texts)).astype("str")
