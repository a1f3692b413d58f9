"""Rewrites texts that the gate quarantined, with the reason in the prompt."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pandas as pd

from entityclip.data import pairs
from entityclip.data.rights import DEFAULT_RIGHTS, Rights
from entityclip.explanations.source_writer import Writer
from entityclip.explanations.stage import answered, replace_texts
from entityclip.explanations.work_items import Requests
from entityclip.paths import DataLayout

COLUMNS = ["entity_id", "language", "rules", "text", "written_again", "generator"]


def write_again(
    staging: DataLayout,
    broken: pd.DataFrame,
    *,
    writer: Writer,
    ledger: Path,
    rights: Rights = DEFAULT_RIGHTS,
    progress: bool = False,
) -> pd.DataFrame:
    """Replace the rejected texts in staging by new ones; the prompt includes the reason for the rejection.

    The ledger stores every answer under its reason, so the next run with the same texts sends no request.

    Args:
        staging: Complete, with explanations.
        broken: One row per text and rule that it breaks: ``id, rule, value``.
        writer: Writes the new texts.
        ledger: As for ``explain``.
        rights: As for ``explain``.
        progress: Show a progress bar.

    Returns:
        ``COLUMNS``: one row per rejected text; ``written_again`` is its replacement, empty if the writer returned none.

    Raises:
        WriterError: Some requests have no answer; staging is unchanged.
    """
    rows = pairs.read_frame(staging.explanations)
    old = rows[rows["explanation_id"].isin(broken["id"])].drop_duplicates("explanation_id")
    waiting = Requests(staging, pictures=writer.sees_pictures, reasons=_reasons(old, broken), rights=rights)
    new = [text.model_dump() for text in answered(waiting, writer=writer, ledger=ledger, progress=progress)]
    gone = set(old["explanation_id"])
    kept = (row for row in pairs.iter_rows(staging.explanations) if row["explanation_id"] not in gone)
    replace_texts(staging, chain(kept, new))
    return _compared(old, broken, pd.DataFrame(new, columns=list(rows.columns)))


def _reasons(old: pd.DataFrame, broken: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Entity id and language -> every rule that its texts broke, with the offending value."""
    joined = broken.merge(old, left_on="id", right_on="explanation_id")
    lines = joined["rule"] + ": " + joined["value"].fillna("")
    grouped = lines.groupby([joined["entity_id"], joined["language"]], sort=False)
    return {(str(entity), str(language)): "; ".join(dict.fromkeys(part)) for (entity, language), part in grouped}


def _compared(old: pd.DataFrame, broken: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    rules = broken.groupby("id")["rule"].agg(lambda names: " ".join(dict.fromkeys(names)))
    texts = new.groupby(["entity_id", "language"]).agg({"text": "\n".join, "generator": "first"})
    found = old[["explanation_id", "entity_id", "language", "text"]].join(rules.rename("rules"), on="explanation_id")
    found = found.join(texts.rename(columns={"text": "written_again"}), on=["entity_id", "language"])
    return found[COLUMNS].fillna("").reset_index(drop=True)
