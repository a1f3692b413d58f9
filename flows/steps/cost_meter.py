"""What a run of the main job costs: tokens, processor and GPU time, storage, review; one reading in the ledger."""

from __future__ import annotations

import logging
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from entityclip.errors import EntityClipError
from entityclip.evaluation.promotion import chance_level, deciding
from entityclip.explanations import Ledger
from entityclip.paths import Layout
from entityclip.quality.review import read_reviews
from entityclip.schemas import CostReading, EvalReport, PromotionDecision, ReleaseCost, Resources, release_costs
from flows.platform.telemetry import Observation
from flows.steps.model import TrainedModel
from flows.steps.release import ReleaseOutcome

log = logging.getLogger(__name__)


class CostMeter:
    """Reads the totals of a workspace during one run.

    A GPU counts for the duration of the training that holds it; calibration, evaluation and service use the CPU.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout, self._started, self._cpu = layout, datetime.now(UTC), _cpu_seconds()
        self._gpu_seconds, self._release = 0.0, ""
        self._points: float | None = None

    def count(self, trained: TrainedModel, released: ReleaseOutcome, *, gpus: int) -> None:
        """Add the training, and name the release that holds its model."""
        seconds = (stage.seconds for stage in trained.stages if stage.name == "train" and not stage.reused)
        self._gpu_seconds = gpus * sum(seconds)
        self._release = released.made
        self._points = points_gained(released.decision, trained.evaluation) if released.made else None

    def read(self) -> tuple[ReleaseCost, ...]:
        """Store a reading of this run, in place of an earlier one, and return the cost of each release.

        Raises:
            DataError: The ledger, or the decisions of reviewers, cannot be read.
        """
        layout = self._layout
        minutes = sum(review.minutes for review in read_reviews(layout.reviews))
        with Ledger(layout.ledger) as ledger:
            before = [reading.totals for reading in ledger.readings() if reading.started < self._started]
            last, written = before[-1] if before else Resources(), ledger.spent()
            totals = Resources(
                tokens=written.tokens_in + written.tokens_out,
                cpu_seconds=last.cpu_seconds + _cpu_seconds() - self._cpu,
                gpu_seconds=last.gpu_seconds + self._gpu_seconds,
                storage_mb=stored_bytes(layout.root) / 1e6,
                review_minutes=minutes,
            )
            reading = CostReading(started=self._started, release=self._release, points=self._points, totals=totals)
            ledger.write_reading(reading)
            return release_costs(ledger.readings())

    def figures(self) -> dict[tuple[str, str], float]:
        """A last reading for Prometheus: totals of the workspace, and what its last release cost."""
        costs = self.read()
        with Ledger(self._layout.ledger) as ledger:
            shown = {"cost": ledger.readings()[-1].totals}
        released = [cost for cost in costs if cost.release]
        if released:
            shown |= {"release_cost": released[-1].spent}
            shown |= {"cost_per_point": released[-1].per_point} if released[-1].per_point else {}
        return {(name, of): value for name, amounts in shown.items() for of, value in amounts.model_dump().items()}


@contextmanager
def metered(layout: Layout, run: Observation) -> Iterator[CostMeter]:
    """Read what the block costs when it ends, whether it succeeds or fails."""
    meter = CostMeter(layout)
    try:
        yield meter
    finally:
        try:
            run.figures |= meter.figures()
        except (EntityClipError, OSError, sqlite3.Error) as error:  # report the error that ended the run, not this one
            log.warning("%s: the cost of this run was not stored: %s", layout.ledger, error)


def points_gained(decision: PromotionDecision, evaluation: EvalReport) -> float | None:
    """Points of the deciding metric over the champion, or over chance without one; None if they were not paired."""
    if decision.gain is not None:
        return decision.gain.points
    if decision.champion is not None:
        return None
    figure = deciding(evaluation, decision.policy)["all"]
    return figure.value - chance_level(figure, evaluation)


def stored_bytes(root: Path) -> int:
    """Size of all files below ``root``; a file with several names counts once."""
    sizes = dict[tuple[int, int], int]()
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(OSError):  # a temporary file that is gone
                found = Path(folder, name).lstat()
                sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())


def _cpu_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)
