"""The quarantine file: each row that was quarantined, its origin, and the rule that it broke."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from entityclip.data import pairs
from entityclip.paths import DataLayout
from entityclip.storage import write_table
from expectations.suites import POSITION

COLUMNS = ["table", "id", "entity_id", "entity", "rule", "value", "source", "file", "row", "text"]
"""One line per row and critical rule. ``value`` broke the rule; ``source``, ``file`` and ``row`` are the origin of
the row, ``row`` counted from 1 in the source's table."""

_LONGEST_SHOWN = 500


def quarantined_pairs(broken: pd.DataFrame, table: pd.DataFrame, *, staging: DataLayout) -> pd.DataFrame:
    """``COLUMNS`` of the pairs that broke critical rules (``broken`` as in ``Verdict``)."""
    if broken.empty:
        return pd.DataFrame(columns=COLUMNS)
    # A leaf of a struct is read as a column with the leaf's name.
    files = pairs.read_frame(staging.pairs, columns=["image.path"])["path"]
    origin = table.assign(table="pairs", file=files)
    return _lines(broken, origin.rename(columns={"pair_id": "id", "caption": "text"}))


def quarantined_explanations(broken: pd.DataFrame, table: pd.DataFrame, *, staging: DataLayout) -> pd.DataFrame:
    """``COLUMNS`` of the explanations that broke critical rules; ``source`` is the writer of the text."""
    if broken.empty:
        return pd.DataFrame(columns=COLUMNS)
    entities = pairs.read_frame(staging.entities, columns=["entity_id", "entity"]).drop_duplicates("entity_id")
    source_provided = pairs.read_frame(staging.source_provided, columns=["entity_id", "text", "row"])
    origin = table.merge(entities, how="left", on="entity_id")
    origin = origin.merge(source_provided.drop_duplicates(["entity_id", "text"]), how="left", on=["entity_id", "text"])
    origin["row"] = origin["row"].astype("Int64")
    return _lines(
        broken, origin.assign(table="explanations").rename(columns={"explanation_id": "id", "generator": "source"})
    )


def _lines(broken: pd.DataFrame, origin: pd.DataFrame) -> pd.DataFrame:
    lines = broken.join(origin, on=POSITION).reindex(columns=COLUMNS)
    for column in ("value", "text"):
        lines[column] = lines[column].str.slice(0, _LONGEST_SHOWN)
    return lines


def write(path: Path, lines: pd.DataFrame) -> None:
    """Replace the file with these lines; remove it where there are none."""
    if lines.empty:
        path.unlink(missing_ok=True)
        return
    write_table(path, lines)
