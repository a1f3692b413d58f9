"""Quarantine: rows that broke a critical rule stay out of the accepted data; a file names each row and its rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from entityclip.data import pairs
from entityclip.data.label_lines import copy_label_lines
from entityclip.data.split_groups import copy_near_duplicates
from entityclip.paths import DataLayout
from entityclip.quality.review import Waiver
from entityclip.storage import write_table
from expectations.suites import POSITION

COLUMNS = ["table", "id", "entity_id", "entity", "rule", "value", "source", "file", "row", "text"]
"""One line per row and critical rule. ``value`` broke the rule; ``source``, ``file`` and ``row`` are the origin of
the row, ``row`` counted from 1 in the source's table."""

_LONGEST_SHOWN = 500


def quarantine_rows(
    staging: DataLayout,
    accepted: DataLayout,
    *,
    bad_pairs: set[int],
    bad_texts: set[int],
    waived: Mapping[str, Waiver],
    progress: bool,
) -> None:
    """Keep the quarantined rows out: copy all others, pictures one by one.

    Each pair gets the first accepted text of its entity, and the reviewer who waived a rule for it, if any.
    ``bad_pairs`` and ``bad_texts`` are positions in the tables, ``waived`` the rules that pairs broke, by pair_id.
    """
    first_text: dict[str, str] = {}
    for row in _without(bad_texts, staging.explanations):
        first_text.setdefault(row["entity_id"], row["text"])
    kept = pairs.PairsWriter(accepted.pairs)
    for row in tqdm(_without(bad_pairs, staging.pairs), desc="accept", unit=" pairs", disable=not progress):
        waiver = waived.get(row["pair_id"])
        kept.add({**row, "explanation": first_text.get(row["entity_id"]), **(_reviewed(row, waiver) if waiver else {})})
    of_split = kept.close()
    entities = pairs.write_rows(accepted.entities, pairs.ENTITIES, pairs.iter_rows(staging.entities), name="entities")
    texts = _without(bad_texts, staging.explanations)
    copy_near_duplicates(staging, into=accepted)
    copy_label_lines(staging, into=accepted)
    count = pairs.write_rows(accepted.explanations, pairs.EXPLANATIONS, texts, name="explanations")
    pairs.finish(accepted, pairs=sum(of_split.values()), entities=entities, explanations=count, **of_split)


def _reviewed(row: Mapping[str, Any], waiver: Waiver) -> dict[str, str]:
    """Who returned a picture, when, and why, beside who gave it and why."""
    reason = f"review: accepted in spite of {', '.join(sorted(waiver.rules))}"
    people = dict.fromkeys([*(row.get("person") or "").split(", "), waiver.person])
    reasons = filter(None, (row.get("reason"), reason))
    return {"person": ", ".join(filter(None, people)), "day": waiver.day, "reason": "; ".join(reasons)}


def _without(bad: set[int], folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table whose positions are not ``bad``, one by one."""
    return (row for position, row in enumerate(pairs.iter_rows(folder)) if position not in bad)


# ---------------------------------------------------------------- the quarantine file
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


def write_quarantine_file(path: Path, lines: pd.DataFrame) -> None:
    """Replace the file with these lines; remove it where there are none."""
    if lines.empty:
        path.unlink(missing_ok=True)
        return
    write_table(path, lines)
