"""What the gate set aside, as those read it who bring it back: ``expectations/quarantine.py`` writes the file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from entityclip.errors import DataError
from entityclip.storage import read_table

COLUMNS = ["id", "rule", "value"]


def broken_texts(quarantine: Path) -> pd.DataFrame:
    """``id, rule, value``: a row for each explanation and rule that it broke; none where there are only pairs.

    Raises:
        DataError: The file is missing, or is no quarantine.
    """
    try:
        lines = read_table(quarantine)
        return lines.loc[lines["table"] == "explanations", COLUMNS].drop_duplicates().reset_index(drop=True)
    except (OSError, ValueError, KeyError) as error:
        said = f"{quarantine}: not a quarantine file ({error}); the run that set rows aside names it"
        raise DataError(said) from error
