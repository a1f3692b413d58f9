"""A run leaves one reading of what the workspace has cost, whether it succeeds or fails."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from entityclip.errors import SourceError
from entityclip.explanations import Ledger
from entityclip.paths import Layout
from entityclip.reports.run_report import StageFact
from entityclip.schemas import EvalReport, Gain, Metric, PromotionDecision
from flows.platform.telemetry import Observation
from flows.steps.cost_meter import metered, points_gained, stored_bytes
from flows.steps.model import TrainedModel
from flows.steps.release import ReleaseOutcome

EVALUATION = EvalReport(
    model_fingerprint="m",
    evaluation_hash="e",
    split="test",
    pictures=9,
    entities=50,
    metrics=(
        Metric(index="mixed", direction="image_to_text", slice="all", name="R@1", value=42, low=40, high=44, queries=9),
    ),
    seconds=1.0,
)


def work(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def fail() -> None:
    work(0.05)
    raise SourceError("the source is away")


def test_a_run_that_fails_is_counted_and_its_error_is_the_one_that_is_seen(tmp_path: Path) -> None:
    layout, run = Layout(tmp_path), Observation("retrain")
    with pytest.raises(SourceError, match="away"), metered(layout, run):
        fail()
    with metered(layout, run) as meter:
        work(0.05)
        assert [cost.release for cost in meter.read()] == [""]
    with Ledger(layout.ledger) as ledger:
        first, second = ledger.readings()  # the second run has one reading, though it was read twice
    assert 0.05 <= first.totals.cpu_seconds <= second.totals.cpu_seconds - 0.05
    assert run.figures["cost", "cpu_seconds"] == second.totals.cpu_seconds
    assert run.figures["cost", "storage_mb"] > 0
    assert ("release_cost", "cpu_seconds") not in run.figures


def test_a_ledger_that_cannot_be_read_does_not_hide_what_ended_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Layout(tmp_path).ledger.write_text("no ledger" * 200)
    with pytest.raises(SourceError), metered(Layout(tmp_path), Observation("retrain")):
        fail()
    assert "the cost of this run was not stored" in caplog.text


def test_a_training_counts_for_each_gpu_that_it_held_unless_it_was_reused(
    tmp_path: Path, decided: Callable[..., PromotionDecision]
) -> None:
    released = ReleaseOutcome.model_construct(made="v1.0.0", decision=decided("a", "data"))
    for reused in (False, True):
        stages = (StageFact(name="train", seconds=30, reused=reused), StageFact(name="evaluate", seconds=9))
        run = Observation("retrain")
        with metered(Layout(tmp_path), run) as meter:
            meter.count(TrainedModel.model_construct(stages=stages, evaluation=EVALUATION), released, gpus=2)
            (first, *_) = meter.read()
        assert (first.release, first.points, first.spent.gpu_seconds) == ("v1.0.0", 40, 60)
        assert run.figures["cost_per_point", "gpu_seconds"] == 1.5


def test_points_are_over_the_champion_or_over_chance(decided: Callable[..., PromotionDecision]) -> None:
    first = decided("a", "data")
    assert points_gained(first, EVALUATION) == 40  # chance is 1 of 50
    paired = {"champion": "v1.0.0", "gain": Gain(points=1.5, low=0.1, high=2.9, queries=9)}
    assert points_gained(first.model_copy(update=paired), EVALUATION) == 1.5
    assert points_gained(first.model_copy(update={"champion": "v1.0.0"}), EVALUATION) is None


def test_a_file_with_two_names_is_stored_once(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(bytes(1000))
    os.link(tmp_path / "folder" / "a", tmp_path / "b")
    (tmp_path / "c").write_bytes(bytes(10))
    assert stored_bytes(tmp_path) == 1010
