"""Queries that a model has seen in training, as near duplicates or as pictures of one scene; recall without them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from entityclip.data import pairs
from entityclip.data.split_groups import read_near_duplicates, seen_in_training
from entityclip.paths import DataLayout
from entityclip.retrieval import metrics
from entityclip.schemas import Metric


def seen_queries(data: DataLayout, pair_ids: pd.Series) -> np.ndarray | None:
    """(Q,) whether each query belongs together with a training picture; None where the data version does not tell.

    Args:
        data: The data version.
        pair_ids: (Q,) of the queries.
    """
    near = read_near_duplicates(data)
    if near is None:
        return None
    rows = pairs.read_frame(data.pairs, columns=["pair_id", "image_sha256", "entity_id", "split"])
    seen = rows.loc[seen_in_training(rows, near).notna(), "pair_id"]
    return pair_ids.isin(seen).to_numpy()


def recall_without(
    answers: pd.DataFrame, pair_ids: pd.Series, seen: np.ndarray | None, *, entities: int, seed: int
) -> tuple[Metric, ...]:
    """Picture-to-entity figures of each index, over all queries that are not ``seen``; none if that leaves out nothing,
    or all.

    Args:
        answers: ``pair_id, entity_id, index, direction, rank`` of the queries.
        pair_ids: (Q,) of the pictures.
        seen: (Q,) as ``seen_queries`` gives it.
        entities: Number of candidates.
        seed: Of the bootstrap.
    """
    if seen is None or not seen.any() or seen.all():
        return ()
    rows = answers[(answers["direction"] == "image_to_text") & (answers["index"] != "pairs")]
    rows = rows[rows["pair_id"].isin(pair_ids[~seen])]
    return tuple(
        Metric(index=str(index), direction="image_to_text", slice="all", **figure._asdict())
        for index, part in rows.groupby("index", sort=False)
        for figure in metrics.rank_figures(
            part["rank"].to_numpy(), part["entity_id"].to_numpy(), candidates=entities, seed=seed
        )
    )
