"""Trainings on parts of the training pictures: what is in a part, what the curve says, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_data
from typer.testing import CliRunner, Result

from entityclip.cli import app
from entityclip.data import pairs
from entityclip.data.variants import with_training_share
from entityclip.experiments.learning_curve import LearningCurve, learning_curve, plot
from entityclip.experiments.train_and_evaluate import Measurement, TrainingResult
from entityclip.paths import DataLayout, Layout, RunLayout
from entityclip.schemas import EvalReport, Metric, PromotionPolicy
from entityclip.settings import default_config
from entityclip.training import presets
from entityclip.training.trainer import fit


def result(hits: int, *, queries: int = 1000) -> Measurement:
    """A model that answers the first ``hits`` queries right; five queries an entity."""
    about = {"index": "mixed", "direction": "image_to_text", "entity_id": np.arange(queries) // 5}
    rows = pd.DataFrame({"pair_id": np.arange(queries), "rank": np.where(np.arange(queries) < hits, 1, 2), **about})
    value = 100 * hits / queries
    metric = Metric(
        index="mixed",
        direction="image_to_text",
        slice="all",
        name="R@1",
        value=value,
        low=value - 3,
        high=value + 3,
        queries=queries,
    )
    evaluation = EvalReport(
        model_fingerprint="m",
        evaluation_hash="",
        split="test",
        pictures=queries,
        entities=200,
        metrics=(metric,),
        seconds=1.0,
    )
    return Measurement(TrainingResult(evaluation=evaluation, seconds=7.0, device="cpu"), rows)


def curve(*hits: int, pictures: tuple[int, ...], seed_deviation: float = 0.0) -> LearningCurve:
    shares = [count / pictures[-1] for count in pictures]
    policy = PromotionPolicy(seed_deviation=seed_deviation)
    return learning_curve(
        [result(one) for one in hits], shares=shares, pictures=pictures, policy=policy, model="m", data_hash="d"
    )


def test_a_hundred_more_pictures_bring_their_part_of_a_doubling() -> None:
    found = curve(500, 600, 680, pictures=(25, 50, 100))
    assert [point.pictures for point in found.points] == [25, 50, 100]
    assert [point.value for point in found.points] == [50, 60, 68]
    assert found.gain.value == pytest.approx(8)
    assert found.per_hundred == found.gain  # from 100 to 200 is one doubling
    large = curve(600, 680, pictures=(50_000, 100_000))
    assert large.per_hundred.value == pytest.approx(8 * np.log2(1.001))
    assert 0 < large.per_hundred.low < large.per_hundred.value < large.per_hundred.high


def test_the_interval_of_the_gain_includes_the_deviation_between_seeds() -> None:
    alone, seeds = (curve(600, 680, pictures=(50, 100), seed_deviation=points) for points in (0.0, 3.0))
    assert alone.gain.low > 0 > seeds.gain.low
    assert "<svg" in plot(seeds)


def test_a_smaller_part_lies_within_a_larger_one_and_other_splits_stay(tmp_path: Path) -> None:
    data, parts = tiny_data(tmp_path / "data"), {}
    for share in (0.25, 0.5, 1.0):
        into = DataLayout(tmp_path / f"{share:g}")
        with_training_share(data, share, into=into, seed=0)
        parts[share] = set(pairs.read_frame(into.pairs, name="train")["pair_id"])
        assert pairs.require_complete(into)["train"] == len(parts[share])
        for split in ("val", "test"):
            assert pairs.read_frame(into.pairs, name=split).equals(pairs.read_frame(data.pairs, name=split))
    every = set(pairs.read_frame(data.pairs, name="train")["pair_id"])
    assert parts[0.25] < parts[0.5] < parts[1.0] == every
    assert [len(part) for part in parts.values()] == [round(share * len(every)) for share in parts]


def command(layout: Layout, *options: str) -> Result:
    return CliRunner().invoke(app, ["learning-curve", "--workspace", str(layout.root), *options])


@pytest.mark.slow
def test_the_command_trains_each_part_once(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "ワークスペース")
    data = tiny_data(layout.data.root)
    layout.config.write_text(default_config())
    config = presets.tiny().train.changed(epochs=1, batch=8)
    fit(config, data=data, data_hash="data", run=RunLayout(tmp_path / "run"), report=lambda *_: None, progress=False)
    (tmp_path / "run" / "checkpoint").rename(layout.model.root)
    planned = command(layout, "--shares", "0.75,1", "--dry-run", "--json")
    total = len(pairs.read_frame(data.pairs, name="train"))
    assert json.loads(planned.stdout.splitlines()[-1])["pictures"] == [round(0.75 * total), total]
    assert not layout.learning_curve.root.exists()

    shown = command(layout, "--shares", "0.75,1", "--json")
    assert shown.exit_code == 0, shown.output
    kept = LearningCurve.read(layout.learning_curve.curve)
    assert kept is not None
    assert [point.pictures for point in kept.points] == [round(0.75 * total), total]
    assert "If each doubling adds as much, 100 more pictures add" in shown.stdout
    assert layout.learning_curve.plot.read_text().startswith("<svg")
    assert command(layout, "--shares", "0.75,1", "--json").stdout == shown.stdout


@pytest.mark.parametrize(
    ("shares", "reason"),
    [
        ("half,1", "expected numbers like 0.25,0.5,1"),
        ("1", "expected two or more ascending numbers"),
        ("0.5,0.25", "expected two or more ascending numbers"),
        ("0.5,1.5", "expected two or more ascending numbers"),
        ("0.01,1", "training pictures; expected at least 10"),
    ],
)
def test_impossible_parts_are_named_before_anything_is_trained(tmp_path: Path, shares: str, reason: str) -> None:
    layout = Layout(tmp_path)
    tiny_data(layout.data.root)
    layout.config.write_text(default_config())
    refused = command(layout, "--shares", shares)
    assert refused.exit_code == 1
    assert reason in refused.stderr
