"""The table of what releases cost, for the run report and the page of releases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from entityclip.schemas import ReleaseCost

COST_COLUMNS = {"tokens": 1, "cpu_seconds": 60, "gpu_seconds": 60, "storage_mb": 1, "review_minutes": 1}
"""Amount -> by what it is divided: times are shown in minutes."""


class CostRow(NamedTuple):
    """One release, or what was spent since the last one."""

    release: str
    """Version; empty: since the last release."""
    points: str
    cells: tuple[tuple[str, str], ...]
    """Amount and amount per point, in the order of ``COST_COLUMNS``."""


def cost_rows(costs: Iterable[ReleaseCost]) -> list[CostRow]:
    """A row per release, the newest first; a dash where there is no gain to divide by."""
    return [_row(cost) for cost in costs][::-1]


def _row(cost: ReleaseCost) -> CostRow:
    spent, each = cost.spent.model_dump(), cost.per_point.model_dump() if cost.per_point else {}
    cells = (
        (_amount(spent[name] / by), _amount(each[name] / by) if each else "–") for name, by in COST_COLUMNS.items()
    )
    return CostRow(cost.release, "–" if cost.points is None else f"{cost.points:+.1f}", tuple(cells))


def _amount(value: float) -> str:
    """Whole from 100 on, else two digits."""
    if 0 < value < 0.001:
        return "<0.001"
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.2g}"
