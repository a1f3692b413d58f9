"""The table of what was read on the pictures of a data version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from entityclip.data import pairs
from entityclip.paths import DataLayout


def read_label_lines(data: DataLayout) -> pd.DataFrame | None:
    """image_sha256, lines, reader of each picture that was read; None in a data version whose labels were not read."""
    return pairs.read_frame(data.labels) if data.labels.is_dir() else None


def copy_label_lines(
    data: DataLayout, *, into: DataLayout, without: Callable[[Mapping[str, Any]], bool] | None = None
) -> None:
    """Write the rows of the pictures that are in ``into``, whose pairs are written, but for those ``without`` names."""
    if not data.labels.is_dir():
        return
    kept = set(pairs.read_frame(into.pairs, columns=["image_sha256"])["image_sha256"])
    rows = (row for row in pairs.iter_rows(data.labels) if row["image_sha256"] in kept)
    rows = rows if without is None else (row for row in rows if not without(row))
    pairs.write_rows(into.labels, pairs.LABELS, rows, name="labels")
