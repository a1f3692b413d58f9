"""How many worker processes prepare batches."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from entityclip.data import resources
from entityclip.training import TrainConfig, feeding

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 cores, and shared memory for 100 batches of the default config."""
    config = TrainConfig()
    free = 100 * 3 * config.kept_side**2 * config.batch

    def usage(path: Path) -> Usage:
        assert path == feeding.SHARED_MEMORY
        return Usage(free, 0, free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setattr(resources, "cores", lambda: 16)


@pytest.mark.parametrize(
    ("change", "processes", "workers"),
    [
        ({"device": "cpu"}, 1, 0),  # its cores compute
        ({"device": "cuda"}, 1, 15),  # one launches the GPU's work
        ({"device": "cuda"}, 4, 3),
        ({"device": "cuda"}, 64, 1),
        ({"device": "cuda", "batch": 64 * 4}, 1, 4),  # 50 of these batches would be too large; 12 fit
        ({"device": "cuda", "batch": 64 * 40}, 1, 0),
        ({"device": "cuda", "workers": 2}, 1, 2),
        ({"device": "cpu", "workers": 2}, 4, 2),
    ],
)
def test_workers_by_the_cores_and_the_shared_memory(change: dict[str, object], processes: int, workers: int) -> None:
    config = TrainConfig().changed(**change)
    assert feeding.worker_count(config, processes=processes) == workers
    short = feeding.shortage(config, processes=processes)
    assert short.startswith(f"workers: {workers} in place of 15") is ("batch" in change)  # nothing else is short here
    assert bool(short) is ("batch" in change)
