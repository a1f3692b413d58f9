from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from tiny import tiny_data, tiny_vit

from entityclip.data import pairs
from entityclip.data.preprocessing import Preprocessing
from entityclip.data.text import Tokenisation
from entityclip.experiments.ablate import TERMS, VARIANTS, AblationRun, ablate, markdown, plot, runs, summary, swapped
from entityclip.paths import AblationLayout, DataLayout
from entityclip.schemas import EvalReport
from entityclip.training import TrainConfig


def texts(data: DataLayout) -> dict[str, str]:
    frame = pairs.read_frame(data.explanations)
    return dict(zip(frame["entity_id"], frame["text"], strict=True))


@pytest.mark.parametrize(("share", "moved"), [(0.0, 0), (0.5, 2), (1.0, 5)])
def test_a_share_of_the_explanations_is_handed_round(tmp_path: Path, share: float, moved: int) -> None:
    data = tiny_data(tmp_path / "data")
    other = swapped(data, DataLayout(tmp_path / "swapped"), share=share, seed=0)
    before, after = texts(data), texts(other)
    assert sum(before[entity] != after[entity] for entity in before) == moved
    assert sorted(before.values()) == sorted(after.values())
    assert len(pairs.read_frame(other.pairs)) == len(pairs.read_frame(data.pairs))


def test_each_variant_has_one_term_more(tmp_path: Path) -> None:
    planned = runs(TrainConfig(), seeds=2)
    assert len(planned) == 2 * len(VARIANTS)
    weights = [(run.config.loss.explanation, run.config.loss.beta, run.config.loss.eta) for run in planned[:6]]
    assert weights[:3] == [(0, 0, 0), (0, 0.1, 0), (0, 0.1, 0.1)]  # those of the paper
    assert weights[3:] == [(1.0, 0, 0), (1.0, 0.1, 0), (1.0, 0.1, 0.1)]
    assert {run.config.seed for run in planned} == {0, 1}


def test_terms_and_swaps_can_be_compared_alone() -> None:
    assert [run.variant for run in runs(TrainConfig(), seeds=1, compared="terms")] == list(TERMS)
    swaps = runs(TrainConfig(), seeds=1, compared="swaps")
    assert [run.variant.swapped for run in swaps] == [0, 0.25, 0.5, 1]
    assert all(run.config.loss.explanation for run in swaps)


@pytest.mark.slow
def test_what_was_measured_is_not_trained_again(tmp_path: Path) -> None:
    data, to = tiny_data(tmp_path / "data"), AblationLayout(tmp_path / "to")
    pairs.finish(data, pairs=len(pairs.read_frame(data.pairs)), test=18)
    config = TrainConfig(
        model=tiny_vit(tmp_path),
        preprocessing=Preprocessing(size=32),
        tokenisation=Tokenisation(context=24),
        epochs=1,
        batch=8,
    )
    planned = [run for run in runs(config, seeds=1) if run.variant in (VARIANTS[0], VARIANTS[-1])]
    reported: list[AblationRun] = []

    def record(run: AblationRun, report: EvalReport) -> None:
        assert report.pictures == 18
        reported.append(run)

    first = ablate(planned, data=data, data_hash="d", to=to, report=record, progress=False)
    written = {path: path.stat().st_mtime_ns for path in to.root.rglob("*.json")}
    again = ablate(planned, data=data, data_hash="d", to=to, report=record, progress=False)
    pd.testing.assert_frame_equal(first.cells, again.cells)
    assert {path: path.stat().st_mtime_ns for path in to.root.rglob("*.json")} == written
    assert set(first.cells["variant"]) == {"plain CLIP", "whole, 100 % swapped"}
    side_by_side = AblationLayout(tmp_path / "side by side")
    both = ablate(planned, data=data, data_hash="d", to=side_by_side, report=record, jobs=2, progress=False)
    pd.testing.assert_frame_equal(first.cells, both.cells)
    pd.testing.assert_frame_equal(first.hits, both.hits)
    assert reported == planned * 3


def cells(recalls: list[float]) -> pd.DataFrame:
    rows = [{"seed": seed, "recall": recall} for seed, recall in enumerate(recalls)]
    return pd.DataFrame(rows).assign(variant="plain CLIP", index="caption", slice="all")


def test_an_interval_is_students_over_the_seeds() -> None:
    found = summary(cells([40.0, 42.0, 44.0])).iloc[0]
    assert found["mean"] == 42
    assert found["half"] == pytest.approx(4.303 * 2 / math.sqrt(3), abs=0.01)
    assert "| plain CLIP | caption | 42.0 ± 5.0 |" in markdown(summary(cells([40.0, 42.0, 44.0])))


def test_one_seed_has_no_interval() -> None:
    found = summary(cells([40.0]))
    assert "| plain CLIP | caption | 40.0 |" in markdown(found)
    assert "<svg" in plot(found)
