from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import sys
import flows.steps.run_report, flows.steps.plan
from entityclip.training.presets import preset
preset("demo")
print(sorted({"torch", "open_clip", "transformers", "great_expectations", "bentoml"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_a_run_that_reuses_every_step_waits_for_no_library_that_computes() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
