"""A workspace that holds a person in every place."""

from __future__ import annotations

from pathlib import Path

import pytest
from person import (
    NEEDLES,
    fill_state,
    person_data,
    traces,
)

from entityclip.paths import Layout
from flows.workspace.versions import version_data


@pytest.fixture
def filled(workspace: Layout, tmp_path: Path) -> Layout:
    """Three versions: without her, with one picture, with two; and her traces in every other place."""
    for number, message in enumerate(("Without", "One", "Two")):
        version_data(workspace, person_data(tmp_path / f"data-{number}", pictures=number), message=message)
    fill_state(workspace)
    assert traces(workspace.root, NEEDLES)
    return workspace
