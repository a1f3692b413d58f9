"""Texts with their claims and their pictures, to be shown on a page."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import pandas as pd

from entityclip.data import pairs
from entityclip.paths import DataLayout
from entityclip.quality.model_scores import SPLITS
from entityclip.reports.examples import read_pictures

TEXTS_SHOWN, PICTURES_SHOWN = 8, 3


class JudgedText(NamedTuple):
    """A text with the verdict on each of its claims."""

    caption: str
    text: str
    language: str
    pictures: list[bytes]
    claims: list[dict[Hashable, Any]]
    """See ``claim_table.COLUMNS``."""


def judged_texts(claims: pd.DataFrame, explanations: pd.DataFrame, data: DataLayout) -> list[JudgedText]:
    """Texts with contradicted claims, the clearest first; then others, until there are enough.

    Args:
        claims: The table of checked claims.
        explanations: The texts, in the order that ``claims`` counts.
        data: Their pictures.
    """
    wrong = claims["verdict"] == "contradicted"
    places = pd.unique(pd.concat([claims[wrong].sort_values("evidence")["position"], claims.loc[~wrong, "position"]]))
    shown = explanations.iloc[places[:TEXTS_SHOWN]]
    pictures = pictures_of(data, set(shown["entity_id"]))
    return [
        JudgedText(
            caption=str(row.caption or ""),
            text=str(row.text),
            language=str(row.language or ""),
            pictures=pictures.get(str(row.entity_id), []),
            claims=claims[claims["position"] == position].to_dict("records"),
        )
        for position, row in zip(places, shown.itertuples(), strict=False)
    ]


def pictures_of(data: DataLayout, wanted: set[str]) -> dict[str, list[bytes]]:
    """entity_id -> its first pictures by id, without those of the test split."""
    rows = pairs.read_frame(data.pairs, columns=["pair_id", "entity_id", "split"])
    rows = rows[rows["entity_id"].isin(wanted) & rows["split"].isin(SPLITS)].drop_duplicates("pair_id")
    few = rows.sort_values("pair_id").groupby("entity_id").head(PICTURES_SHOWN)
    pictures = read_pictures(data, set(few["pair_id"]))
    return {str(key): [pictures[pair] for pair in part["pair_id"]] for key, part in few.groupby("entity_id")}
