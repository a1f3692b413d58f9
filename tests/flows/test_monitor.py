"""Drift monitoring: samples of the service are compared with its release, and each drift is announced once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_data, tiny_model

from bentos.runtime.samples import Samples
from entityclip.monitoring.baseline import baseline
from entityclip.monitoring.drift import STATISTICS, DriftReport
from entityclip.paths import Layout, StateLayout, StoreLayout
from entityclip.retrieval.index import EntityIndex
from entityclip.schemas import Release
from flows.monitor import measure_drift


@pytest.fixture
def release(workspace: Layout) -> Release:
    """A tiny release in service, with its baseline; 20 pictures are enough for a test."""
    workspace.config.write_text("monitoring: {min_samples: 20}\n")
    data, model = tiny_data(workspace.data.root), tiny_model(workspace.model.root)
    EntityIndex.build(model, data).save(StoreLayout(workspace.bento_home).model("v1.0.0").entities)
    watch = workspace.watch("v1.0.0")
    watch.root.mkdir(parents=True)
    baseline(model, data).to_parquet(watch.baseline, index=False)
    return Release(version="v1.0.0", commit="c", model_fingerprint=model.card.fingerprint, data_hash="d")


@pytest.fixture
def served(workspace: Layout, release: Release) -> Callable[[float, str], StateLayout]:
    """A service that was shown the data's own pictures, this much darker, and texts in this script."""

    def shown(darker: float, script: str) -> StateLayout:
        state = StateLayout(workspace.root / ".service")
        samples, frame = Samples(state.samples), pd.read_parquet(workspace.watch("v1.0.0").baseline)
        for row in frame[frame["vector"].notna()].to_dict("records"):
            figures = {name: row[name] for name in STATISTICS} | {"brightness": row["brightness"] - darker}
            samples.write({"release": "v1.0.0", "vector": row["vector"], **figures})
        for _ in range(40):
            samples.write({"release": "v1.0.0", "script": script})
        return state

    return shown


def test_a_service_that_sees_its_own_data_does_not_drift(workspace, release, served):
    report = measure_drift.fn(workspace, release, served(0.0, "latin"))
    assert (report.drifted, report.pictures, report.texts) == ((), 24, 40)
    assert len(report.tests) == 7
    page = workspace.watch("v1.0.0").page.read_text()
    assert "No drift" in page
    assert "<svg" in page


def test_darker_pictures_and_another_script_are_drift(workspace, release, served):
    report = measure_drift.fn(workspace, release, served(0.5, "cyrillic"))
    assert report.drifted == ("brightness", "script")
    assert "Drift detected: brightness, script" in workspace.watch("v1.0.0").page.read_text()


def test_a_service_without_requests_is_reported_as_untested(workspace, release):
    report = measure_drift.fn(workspace, release, StateLayout(workspace.root / ".service"))
    assert report.tests == ()
    assert "0 pictures of the service and 24 of the data; 20 of each are needed" in report.untested
    assert "Too few samples to test" in workspace.watch("v1.0.0").page.read_text()


def test_samples_of_another_release_do_not_count(workspace, release, served):
    state = served(0.5, "cyrillic")
    vector = np.ones(8, np.float16).tobytes()
    Samples(state.samples).write({"release": "v2.0.0", "vector": vector, **dict.fromkeys(STATISTICS, 0.1)})
    assert measure_drift.fn(workspace, release, state).pictures == 24


def test_a_report_survives_the_disk(workspace, release, served):
    report = measure_drift.fn(workspace, release, served(0.5, "latin"))
    report.write(workspace.watch("v1.0.0").drift)
    assert DriftReport.read(workspace.watch("v1.0.0").drift) == report
