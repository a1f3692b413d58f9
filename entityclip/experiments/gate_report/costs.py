"""What the explanations cost, and what a point of recall that the gate gives back cost with them."""

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
    per_point: float | None = Field(description="For each point of R@1 that the gate gives back; None without a gain.")


def spent(ledger: Path) -> WriterCost:
    """What every answer in the ledger took; nothing where there is no ledger."""
    if not ledger.exists():
        return WriterCost()
    with Ledger(ledger) as book:
        return book.spent()


def costs(
    written: WriterCost, reviews: Iterable[Review], trained: Sequence[TrainedVariant], *, points: float
) -> list[CostLine]:
    """Tokens, money, machine seconds and a person's minutes, in all and for each of ``points``.

    Args:
        written: What the writers took.
        reviews: What people decided.
        trained: The report's trainings; one of them, on average, is what a data version costs.
        points: R@1 with the gate on less R@1 with it off.
    """
    seconds = [one.result.measured.seconds for one in trained]
    devices = sorted({one.result.measured.device for one in trained})
    lines = [
        ("tokens, sent and written", float(written.tokens_in + written.tokens_out), "tokens"),
        ("money", written.money, "by the configured prices"),
        ("writing", written.seconds, "seconds, answers side by side counted each"),
        ("one training", sum(seconds) / len(seconds), f"seconds on {', '.join(devices)}"),
        ("review by people", sum(review.minutes for review in reviews), "minutes"),
    ]
    return [
        CostLine(what=what, amount=amount, unit=unit, per_point=amount / points if points > 0 else None)
        for what, amount, unit in lines
    ]
