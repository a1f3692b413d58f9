"""Cost of the explanations, in total and per point of recall that the gate recovers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import Field

from entityclip.experiments.gate_report.study import TrainedVariant
from entityclip.explanations import Ledger, WriterCost
from entityclip.quality.review import Review
from entityclip.schemas import Record


class CostLine(Record):
    """One kind of cost."""

    what: str
    amount: float
    unit: str
    per_point: float | None = Field(description="For each point of R@1 that the gate recovers; None without a gain.")


def spent(ledger: Path) -> WriterCost:
    """Total cost of all answers in the ledger; zero where there is none."""
    if not ledger.exists():
        return WriterCost()
    with Ledger(ledger) as book:
        return book.spent()


def costs(
    written: WriterCost, reviews: Iterable[Review], trained: Sequence[TrainedVariant], *, points: float
) -> list[CostLine]:
    """Tokens, money, machine seconds and reviewers' minutes, in total and per point of recall.

    Args:
        written: Cost of the writers.
        reviews: Decisions of reviewers.
        trained: The report's training runs; their mean is the training cost of a data version.
        points: R@1 with the gate on minus R@1 with it off.
    """
    seconds = [one.result.measured.seconds for one in trained]
    devices = sorted({one.result.measured.device for one in trained})
    lines = [
        ("tokens, sent and written", float(written.tokens_in + written.tokens_out), "tokens"),
        ("money", written.money, "by the configured prices"),
        ("writing", written.seconds, "seconds, concurrent answers counted each"),
        ("one training", sum(seconds) / len(seconds), f"seconds on {', '.join(devices)}"),
        ("review by people", sum(review.minutes for review in reviews), "minutes"),
    ]
    return [
        CostLine(what=what, amount=amount, unit=unit, per_point=amount / points if points > 0 else None)
        for what, amount, unit in lines
    ]
