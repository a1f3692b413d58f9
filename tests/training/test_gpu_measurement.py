"""The script that measures a GPU is walked through on the CPU, so that on the day nothing but the card is new."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def measured(*options: str) -> dict[str, Any]:
    command = [sys.executable, "benchmarks/on_gpu.py", *options, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_its_parts_fit_into_eight_minutes_and_each_gives_figures(tmp_path: Path) -> None:
    planned = measured("--dry-run")
    assert planned["seconds"] <= 60 * planned["minutes"] == 480
    found = measured("--device", "cpu", "--quick", "--to", str(tmp_path / "figures.json"))
    assert {name: part for name, part in found["parts"].items() if {"error", "left_out"} & part.keys()} == {}
    assert found["parts"]["pytest -m gpu"]["exit_status"] == 0
    assert found["parts"]["feeding from 224-pixel JPEGs"]["cores_for"].keys() == {"4500", "6000"}
    assert {name for name, part in found["parts"].items() if "graphs" in part} == {
        name for name in found["parts"] if "graphs" in name
    }
    assert len(found["parts"]) == len([name for name in planned["parts"] if "1024" not in name])
    assert json.loads((tmp_path / "figures.json").read_text()) == found


@pytest.mark.slow
def test_what_does_not_fit_is_left_out_and_what_is_there_is_kept(tmp_path: Path) -> None:
    found = measured("--device", "cpu", "--quick", "--minutes", "0.1", "--to", str(tmp_path / "figures.json"))
    assert "tflops" in found["parts"]["matmul"]
    assert found["parts"]["demo, interrupted and resumed"]["left_out"].startswith("expected 14 s")
    assert json.loads((tmp_path / "figures.json").read_text()) == found
