from __future__ import annotations

from pathlib import Path

import pytest
from small_batch import Batch


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    """40 products, each with one picture and one text."""
    made = Batch(tmp_path)
    for number in range(40):
        made.add(number)
    return made
