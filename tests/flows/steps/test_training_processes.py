"""The main job with a training in two processes: one is killed, the next run resumes, and equals one process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import torch
from main_job import MINUTES, command, environment, last_line, retrain
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import tiny_vit

from entityclip.data.pairs import require_complete
from entityclip.data.preprocessing import Preprocessing
from entityclip.data.sources.catalog import draw_catalog
from entityclip.data.text import Tokenisation
from entityclip.paths import Layout, RunLayout
from entityclip.training import TrainConfig
from entityclip.training.trainer import fit


def killed_worker(running: subprocess.Popen[bytes], layout: Layout) -> int:
    """Kill the second process of the training once a state is saved; returns the number of steps in that state."""
    end = time.monotonic() + 5 * MINUTES
    while not (states := list(layout.work.glob("runs/*/resume.safetensors"))) and time.monotonic() < end:
        assert running.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    family = psutil.Process(running.pid).children(recursive=True)
    together = [process for process in family if "spawn_main" in " ".join(process.cmdline())]
    assert len(together) == 2
    os.kill(together[1].pid, signal.SIGKILL)
    running.wait(timeout=2 * MINUTES)
    _, alive = psutil.wait_procs(together, timeout=MINUTES)
    assert not alive
    with safe_open(states[0], framework="pt") as file:
        return int(file.metadata()["step"])


@pytest.mark.slow
def test_a_training_in_two_processes_resumes_after_a_kill_and_ends_with_the_weights_of_one_process(
    tmp_path: Path,
) -> None:
    source, home, layout = tmp_path / "catalog", tmp_path / "home", Layout(tmp_path / "workspace")
    draw_catalog(source, products=60)
    home.mkdir()
    config = TrainConfig(
        model=tiny_vit(tmp_path),
        preprocessing=Preprocessing(size=32),
        tokenisation=Tokenisation(context=24, long_texts="cut", most_cut=1.0),
        epochs=3,
        batch=16,
        learning_rate=1e-4,
        save_seconds=0,
    )
    settings = tmp_path / "settings.json"
    settings.write_text(config.model_dump_json())
    where = ["--source-path", str(source), "--products", "60", "--config", str(settings), "--processes", "2"]
    log = tmp_path / "log"
    with log.open("w") as output:
        job = command(layout.root, *where)
        running = subprocess.Popen(job, env=environment(home), stdout=output, stderr=subprocess.STDOUT)
        steps = killed_worker(running, layout)
    assert running.returncode == 1
    assert "TrainingError: process 1 of 2 was killed" in log.read_text().splitlines()[-1]

    done = retrain(layout.root, *where)

    assert last_line(done)["reused"] == ["ingest", "explain", "validate", "version"]
    assert f"| {steps}/" in done.stderr  # the bar starts where the killed run was
    (run,) = map(RunLayout, layout.work.glob("runs/*"))
    assert (run.live / "plots" / "metrics" / "loss.tsv").read_text().count("\n") > config.epochs - 1
    rest = require_complete(layout.data)["train"] % config.batch
    assert rest % 2 == 0 or rest < config.batch / 2  # else two processes leave one pair out: choose another batch
    fit(config, data=layout.data, data_hash="", run=RunLayout(tmp_path / "alone"), report=lambda *_: None)
    alone = load_file(RunLayout(tmp_path / "alone").checkpoint.weights)
    for name, weight in load_file(run.checkpoint.weights).items():
        torch.testing.assert_close(weight, alone[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
