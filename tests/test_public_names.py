"""What ``import entityclip`` offers, and what it does not load."""

from __future__ import annotations

import subprocess
import sys

import entityclip

HEAVY = ("torch", "pandas", "prefect", "bentoml", "great_expectations", "dvc")


def test_each_public_name_can_be_imported() -> None:
    assert set(entityclip.__all__) == set(entityclip._PLACES)
    assert all(callable(getattr(entityclip, name)) for name in entityclip.__all__)
    assert not hasattr(entityclip, "unknown")


def test_import_loads_nothing_heavy() -> None:
    code = f"import entityclip, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
