"""Copies of a data version with other explanations or fewer pictures, for experiments."""

from __future__ import annotations

import pandas as pd

from entityclip.data import pairs
from entityclip.paths import DataLayout


def with_explanations(data: DataLayout, texts: pd.DataFrame, *, into: DataLayout) -> None:
    """Write ``data`` with the rows ``texts`` as explanations; pictures and entities are links to the original.

    Raises:
        DataError: The data are incomplete.
    """
    counts = pairs.require_complete(data)
    pairs.start(into)
    into.pairs.symlink_to(data.pairs.resolve(), target_is_directory=True)
    into.entities.symlink_to(data.entities.resolve(), target_is_directory=True)
    if data.near_duplicates.is_dir():
        into.near_duplicates.symlink_to(data.near_duplicates.resolve(), target_is_directory=True)
    plain = texts.astype(object).where(texts.notna(), None)  # Arrow expects None instead of NaN
    rows = [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]
    pairs.write_rows(into.explanations, pairs.EXPLANATIONS, rows, name="explanations")
    pairs.finish(into, **{name: count for name, count in counts.items() if name != "schema_version"})


def with_training_share(data: DataLayout, share: float, *, into: DataLayout, seed: int) -> None:
    """Write ``data`` with a random share of its training pictures; everything else is a link to the original.

    Args:
        data: The data version.
        share: Of the training pictures, 0 to 1. A smaller share is contained in a larger one.
        into: The copy.
        seed: Draws the pictures.

    Raises:
        DataError: The data are incomplete.
    """
    counts = pairs.require_complete(data)
    ids = pairs.read_frame(data.pairs, name="train", columns=["pair_id"])["pair_id"]
    drawn = sorted(ids, key=lambda pair: pairs.digest("learning curve", str(seed), str(pair)))
    kept = set(drawn[: round(share * len(drawn))])
    pairs.start(into)
    for table in ("entities", "explanations", "near_duplicates"):
        if getattr(data, table).is_dir():
            getattr(into, table).symlink_to(getattr(data, table).resolve(), target_is_directory=True)
    rows = (row for row in pairs.iter_rows(data.pairs, name="train") if row["pair_id"] in kept)
    pairs.write_rows(into.pairs, pairs.PAIRS, rows, name="train")
    for shard in pairs.shards(data.pairs):
        if not shard.name.startswith("train-"):
            (into.pairs / shard.name).symlink_to(shard.resolve())
    left = {name: count for name, count in counts.items() if name != "schema_version"}
    pairs.finish(into, **left | {"train": len(kept)})
