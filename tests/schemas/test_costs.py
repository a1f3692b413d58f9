"""The cost of a release is what was spent since the release before it, and for each point that it gained."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from entityclip.reports.cost_table import cost_rows
from entityclip.schemas import CostReading, ReleaseCost, Resources, release_costs

START = datetime(2026, 1, 1, tzinfo=UTC)


def reading(day: int, release: str = "", *, points: float | None = None, **totals: float) -> CostReading:
    return CostReading(
        started=START + timedelta(days=day), release=release, points=points, totals=Resources.model_validate(totals)
    )


def test_refused_challengers_and_failed_runs_count_for_the_next_release() -> None:
    first, later, since = release_costs(
        (
            reading(0, cpu_seconds=30),  # failed
            reading(1, "v1.0.0", points=40, tokens=800, cpu_seconds=100, storage_mb=50),
            reading(2, "v1.0.0", points=40, tokens=800, cpu_seconds=110, storage_mb=50),  # reused its model
            reading(3, tokens=900, cpu_seconds=200, storage_mb=40),  # refused
            reading(4, "v1.1.0", points=2, tokens=1000, cpu_seconds=300, storage_mb=45, review_minutes=6),
            reading(5, "v1.1.0", points=2, tokens=1000, cpu_seconds=305, storage_mb=45, review_minutes=6),
        )
    )
    assert (first.release, first.spent) == ("v1.0.0", Resources(tokens=800, cpu_seconds=100, storage_mb=50))
    assert first.per_point == Resources(tokens=20, cpu_seconds=2.5, storage_mb=1.25)
    assert (later.release, later.spent) == ("v1.1.0", Resources(tokens=200, cpu_seconds=200, review_minutes=6))
    assert later.per_point == Resources(tokens=100, cpu_seconds=100, review_minutes=3)
    assert (since.release, since.spent, since.per_point) == ("", Resources(cpu_seconds=5), None)


def test_without_readings_there_are_no_costs() -> None:
    assert release_costs(()) == ()


@pytest.mark.parametrize("points", [None, 0.0, -1.5])
def test_without_a_gain_there_is_no_cost_of_a_point(points: float | None) -> None:
    assert ReleaseCost(release="v1.0.0", points=points, spent=Resources(tokens=1)).per_point is None


def test_the_table_shows_minutes_the_newest_release_first() -> None:
    spent = Resources(tokens=1_234_567, cpu_seconds=90, storage_mb=99.6, review_minutes=0.0001)
    costs = [ReleaseCost(release="v1.0.0", points=10, spent=spent), ReleaseCost(release="", spent=Resources())]
    since, first = cost_rows(costs)
    assert (since.release, since.points, since.cells) == ("", "–", (("0", "–"),) * 5)
    amounts = (("1,234,567", "123,457"), ("1.5", "0.15"), ("0", "0"), ("100", "10"), ("<0.001", "<0.001"))
    assert (first.release, first.points, first.cells) == ("v1.0.0", "+10.0", amounts)
