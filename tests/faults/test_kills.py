"""The main job, killed with signal 9, ends as if nothing had happened; ``benchmarks/faults.py`` kills more often."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from pathlib import Path
from random import Random

import psutil
import pytest
import torch
from prefect_homes import prefect_home
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import tiny_vit

from benchmarks.lib.kill_harness import JobProcess, KillGround, kill_in, of_home, unclean, unproved
from entityclip.data.ingest import ingest
from entityclip.data.pairs import require_complete
from entityclip.data.preprocessing import Preprocessing
from entityclip.data.sources.catalog import MAPPING
from entityclip.data.sources.table import TableSource
from entityclip.data.text import Tokenisation
from entityclip.explanations import SourceWriter, explain
from entityclip.paths import Layout, RunLayout
from entityclip.training import TrainConfig
from entityclip.training.presets import tiny
from entityclip.training.trainer import fit
from expectations.check import check, copy_context
from flows.workspace.dvc_hashes import folder_hash
from flows.workspace.registry import champion

pytestmark = pytest.mark.slow
SECONDS = 300.0
"""How long a stage may take on a busy machine."""


def undisturbed_data(ground: KillGround, layout: Layout) -> str:
    """Hash of the data that the same rows give without a flow around them."""
    preset = tiny()
    ingest(
        TableSource(ground.catalog, mapping=MAPPING),
        staging=layout.staging,
        rejected=layout.rejected("b"),
        shares=preset.shares(),
    )
    explain(layout.staging, writer=SourceWriter(), ledger=layout.ledger)
    copy_context(layout.expectations)
    where = {"quarantine": layout.quarantine("b"), "context_root": layout.expectations}
    check(layout.staging, accepted=layout.accepted, **where)
    return folder_hash(layout.accepted.root)


def killed_worker(run: JobProcess, layout: Layout) -> int:
    """Kill the second process of a training once a state is saved; returns the number of steps in that state."""
    end = time.monotonic() + SECONDS
    while not (states := list(layout.work.glob("runs/*/resume.safetensors"))) and time.monotonic() < end:
        assert run.alive, f"the run ended before it could be killed: {run.words[-3000:]}"
        time.sleep(0.05)
    family = psutil.Process(run.pid).children(recursive=True)
    together = [process for process in family if "spawn_main" in " ".join(process.cmdline())]
    assert len(together) == 2
    os.kill(together[1].pid, signal.SIGKILL)
    assert run.end() == 1
    _, alive = psutil.wait_procs(together, timeout=SECONDS)
    assert not alive
    with safe_open(states[0], framework="pt") as file:
        return int(file.metadata()["step"])


def test_killed_while_it_versions_trains_in_two_processes_and_serves_it_ends_as_if_nothing_had_happened(
    tmp_path: Path,
) -> None:
    config = TrainConfig(
        model=tiny_vit(tmp_path),
        preprocessing=Preprocessing(size=32),
        tokenisation=Tokenisation(context=24, long_texts="cut", most_cut=1.0),
        epochs=8,
        batch=16,
        learning_rate=1e-4,
        save_seconds=0,
    )
    (settings := tmp_path / "settings.json").write_text(config.model_dump_json())
    ground = KillGround(tmp_path, ("--config", str(settings), "--processes", "2")).prepare()
    layout = Layout(workspace := tmp_path / "workspace")

    prefect_home(ground.home(workspace))

    def killed(stage: str, seconds: float) -> JobProcess:
        run = kill_in(ground, workspace, stage, lasted={stage: seconds}, random=Random(stage))
        assert run is not None, "the run ended before it could be killed"
        assert of_home(ground.home(workspace)) == []  # neither Prefect's server nor the served Bento outlives it
        return run

    killed("version", 0.8)
    run = ground.start(workspace)
    steps = killed_worker(run, layout)
    assert "TrainingError: process 1 of 2 was killed" in run.log[-1]
    assert steps > 0
    assert champion(layout) is None
    run = killed("smoke", 4.0)
    assert f"| {steps}/" in run.words  # the bar starts where the killed training was
    with sqlite3.connect(ground.home(workspace) / "prefect.db") as database:
        states = database.execute("SELECT state_type FROM flow_run WHERE name LIKE 'retrain-%' ORDER BY created")
        assert [state for (state,) in states] == ["CRASHED", "FAILED", "RUNNING"]

    run = ground.start(workspace)

    assert run.end() == 0, run.words[-3000:]
    reused = json.loads(run.log[-1])["reused"]
    assert reused[:8] == ["ingest", "explain", "validate", "version", "train", "calibrate", "evaluate", "promote"]
    assert [*unproved(layout), *unclean(ground, workspace)] == []
    current = champion(layout)
    assert current is not None
    assert current.data_hash == undisturbed_data(ground, Layout(tmp_path / "undisturbed"))

    rest = require_complete(layout.data)["train"] % config.batch
    assert rest % 2 == 0 or rest < config.batch / 2  # else two processes leave one pair out: choose another batch
    fit(config, data=layout.data, data_hash="", run=RunLayout(tmp_path / "alone"), report=lambda *_: None)
    alone = load_file(RunLayout(tmp_path / "alone").checkpoint.weights)
    (trained,) = map(RunLayout, layout.work.glob("runs/*"))
    assert (trained.live / "plots" / "metrics" / "loss.tsv").read_text().count("\n") > config.epochs - 1
    for name, weight in load_file(trained.checkpoint.weights).items():
        torch.testing.assert_close(weight, alone[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
