"""Which parts of the queries have figures of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from entityclip.schemas import SLICES

SLICE_MINIMUM = 5
"""Slices with fewer queries are not reported: their figures would say nothing."""


def slices(queries: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """'all', each of SLICES, each category and each language, with their rows; small ones are left out."""
    yield "all", queries
    parts = [(name, queries[queries["slice"] == name]) for name in SLICES]
    for column in ("category", "language"):
        parts += [(f"{column}={value!s}", rows) for value, rows in queries.groupby(column) if value]
    yield from ((name, rows) for name, rows in parts if len(rows) >= SLICE_MINIMUM)
