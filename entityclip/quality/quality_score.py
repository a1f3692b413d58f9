"""One number for an explanation as a whole, from its scores."""

from __future__ import annotations

import pandas as pd

ENOUGH_WORDS = 8
"""A text with fewer words scores proportionally lower."""

FAULTS = (
    "refusal",
    "injected",
    "placeholder",
    "boilerplate",
    "email",
    "phone",
    "url",
    "markup",
    "control",
    "wrong_language",
    "other_entity",
    "unknown_code",
)


def quality_score(scored: pd.DataFrame) -> pd.Series:
    """Result of ``score_explanations`` -> quality of each text, 0 to 1.

    0 where a fault column is not empty. Else ``(1 - repetition) * min(1, words / ENOUGH_WORDS) / shared_by``: a
    text that repeats itself, is short, or is shared by several entities scores lower.
    """
    faultless = (scored[list(FAULTS)].fillna("") == "").all(axis=1)
    length = (scored["words"] / ENOUGH_WORDS).clip(upper=1)
    return faultless * (1 - scored["repetition"]) * length / scored["shared_by"]
