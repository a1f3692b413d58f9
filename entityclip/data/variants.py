"""Copies of a data version with other explanations, for hyperparameter search and ablation."""

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
