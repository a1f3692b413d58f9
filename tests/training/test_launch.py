"""Processes that train together: what one of them raises, who is killed, and what the others do then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch

from entityclip.errors import ConfigError, TrainingError
from entityclip.training.launch import launch, require_devices

CHILD = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
"""Deaf to the signal that PyTorch sends it when its parent ends, as long as it computes."""
PARENT = "import sys; from entityclip.training.launch import launch; launch(exec, sys.argv[1], processes=2)"


def refuse(where: str) -> None:
    if os.environ["RANK"] == "1":
        raise ConfigError(f"{where}: {os.environ['WORLD_SIZE']} of us, on port {os.environ['MASTER_PORT']}")
    time.sleep(600)


def die() -> None:
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def fail() -> None:
    raise ZeroDivisionError("a defect")


@pytest.mark.slow
def test_what_one_process_raises_stops_all_and_is_raised_here() -> None:
    with pytest.raises(ConfigError, match=r"^here: 2 of us, on port \d+$"):
        launch(refuse, "here", processes=2)
    with pytest.raises(TrainingError, match=r"^process 1 of 2 was killed.*resumes from the last saved state$"):
        launch(die, processes=2)
    with pytest.raises(Exception, match=r"(?s)in fail\n.*ZeroDivisionError: a defect"):
        launch(fail, processes=2)
    assert "RANK" not in os.environ
    assert "WORLD_SIZE" not in os.environ


@pytest.mark.slow
def test_they_end_when_the_process_that_started_them_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert [parent.stdout.readline() for _ in range(2)] == ["up\n", "up\n"]
    family = [p for p in psutil.Process(parent.pid).children() if "spawn_main" in " ".join(p.cmdline())]
    assert len(family) == 2
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    for left in alive:
        left.kill()
    assert not alive


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    require_devices("cuda", 2)
    require_devices("cpu", 64)  # they share the cores
    with pytest.raises(ConfigError, match=r"^processes 3: .* sees 2; expected at most 2, or device cpu$"):
        require_devices("cuda", 3)
