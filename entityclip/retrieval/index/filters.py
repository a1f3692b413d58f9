"""Filters by category, tag, language and date, as a mask over the entities."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

import numpy as np
import pandas as pd

from entityclip.schemas import Filter

UNDATED = -1
"""Days of an entity without a date; it passes no filter by date."""


class Facets:
    """What entities can be filtered by, as numbers: a mask over 100,000 entities takes less than a millisecond."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self._count = len(rows)
        self._category, self._categories = pd.factorize(rows["category"].fillna("").astype(str))
        self._language, self._languages = pd.factorize(rows["language"].fillna("").astype(str))
        dates = rows["date"] if "date" in rows else [""] * len(rows)
        self._day = np.fromiter((_day(date) for date in dates), np.int32, len(rows))
        tagged: dict[str, list[int]] = {}
        for row, tags in enumerate(rows.get("tags", ())):
            for tag in tags:
                tagged.setdefault(tag, []).append(row)
        self._tagged = {tag: np.array(rows) for tag, rows in tagged.items()}

    @property
    def categories(self) -> set[str]:
        """Categories of the entities."""
        return {*self._categories} - {""}

    @property
    def languages(self) -> set[str]:
        """Languages of the entities."""
        return {*self._languages} - {""}

    @property
    def tags(self) -> set[str]:
        """Tags of the entities."""
        return {*self._tagged}

    @property
    def dated(self) -> bool:
        """Whether any entity has a date."""
        return bool((self._day != UNDATED).any())

    def mask(self, where: Filter) -> np.ndarray:
        """(M,) bool: which entities pass."""
        passed = np.ones(self._count, dtype=bool)
        if where.categories:
            passed &= _among(self._category, self._categories, where.categories)
        if where.languages:
            passed &= _among(self._language, self._languages, where.languages)
        if where.since is not None:
            passed &= self._day >= where.since.toordinal()
        if where.until is not None:
            passed &= (self._day <= where.until.toordinal()) & (self._day != UNDATED)
        for tag in where.tags:
            with_tag = np.zeros(self._count, dtype=bool)
            with_tag[self._tagged.get(tag, np.zeros(0, np.int64))] = True
            passed &= with_tag
        return passed


def _among(codes: np.ndarray, names: pd.Index, wanted: Iterable[str]) -> np.ndarray:
    chosen = names.isin(list(wanted))
    return np.asarray(chosen)[codes] if len(names) else np.zeros(len(codes), dtype=bool)


def _day(date: str | None) -> int:
    """Days since the year 1 of a date like 2026-11-23; what follows the day is not read."""

    try:
        return datetime.date.fromisoformat((date or "")[:10]).toordinal()
    except ValueError:
        return UNDATED
