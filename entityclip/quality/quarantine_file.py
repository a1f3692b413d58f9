"""Read the quarantine file that ``expectations/quarantine.py`` writes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from entityclip.errors import DataError
from entityclip.storage import read_table

COLUMNS = ["id", "rule", "value"]


def broken_texts(quarantine: Path) -> pd.DataFrame:
    """``id, rule, value``: one row per explanation and broken rule; no rows where only pairs were quarantined.

    Raises:
        DataError: The file is missing, or is not a quarantine file.
    """
    return _broken(quarantine, "explanations")


def broken_pairs(quarantine: Path) -> pd.DataFrame:
    """The same of pairs, by pair_id."""
    return _broken(quarantine, "pairs")


def _broken(quarantine: Path, table: str) -> pd.DataFrame:
    try:
        lines = read_table(quarantine)
        return lines.loc[lines["table"] == table, COLUMNS].drop_duplicates().reset_index(drop=True)
    except (OSError, ValueError, KeyError) as error:
        message = f"{quarantine}: not a quarantine file ({error}); the run that set rows aside prints its path"
        raise DataError(message) from error
