"""The main job, killed with signal 9, ends as if nothing had happened; ``benchmarks/faults.py`` kills more often."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from random import Random

import pytest

from benchmarks.lib.kill_harness import KillGround, kill_in, of_home, unclean, unproved
from entityclip.data.ingest import ingest
from entityclip.data.sources.catalog import MAPPING
from entityclip.data.sources.table import TableSource
from entityclip.explanations import SourceWriter, explain
from entityclip.paths import Layout
from entityclip.training.presets import tiny
from expectations.check import check, copy_context
from flows.workspace.dvc_hashes import folder_hash
from flows.workspace.registry import champion

pytestmark = pytest.mark.slow


def undisturbed_data(ground: KillGround, layout: Layout) -> str:
    """Hash of the data that the same rows give without a flow around them."""
    preset = tiny()
    ingest(
        TableSource(ground.catalog, mapping=MAPPING),
        staging=layout.staging,
        rejected=layout.rejected("b"),
        val_share=preset.val_share,
        test_share=preset.test_share,
        entity_holdout=preset.entity_holdout,
    )
    explain(layout.staging, writer=SourceWriter(), ledger=layout.ledger)
    copy_context(layout.expectations)
    where = {"quarantine": layout.quarantine("b"), "context_root": layout.expectations}
    check(layout.staging, accepted=layout.accepted, **where)
    return folder_hash(layout.accepted.root)


def test_killed_while_it_versions_and_while_it_serves_it_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    ground, workspace = KillGround(tmp_path).prepare(), tmp_path / "workspace"
    for stage, seconds in (("version", 0.8), ("smoke", 8.0)):
        killed = kill_in(ground, workspace, stage, lasted={stage: seconds}, random=Random(stage))
        assert killed is not None, "the run ended before it could be killed"
        assert of_home(ground.home(workspace)) == []  # neither Prefect's server nor the served Bento outlives it
    with sqlite3.connect(ground.home(workspace) / "prefect.db") as database:
        states = database.execute("SELECT state_type FROM flow_run WHERE name LIKE 'retrain-%' ORDER BY created")
        assert [state for (state,) in states] == ["CRASHED", "RUNNING"]

    run = ground.start(workspace)

    assert run.end() == 0, run.words[-3000:]
    assert [*unproved(Layout(workspace)), *unclean(ground, workspace)] == []
    current = champion(Layout(workspace))
    assert current is not None
    assert current.data_hash == undisturbed_data(ground, Layout(tmp_path / "undisturbed"))
