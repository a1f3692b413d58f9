"""Generates missing explanations before the nightly run; the ledger stores each one as soon as it arrives."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from entityclip.data.erasure import read_erasures
from entityclip.data.sources.erased import without_erased
from entityclip.explanations import open_writer
from entityclip.paths import Layout
from entityclip.settings import read_config
from entityclip.training.presets import preset as named_preset
from flows.steps.data import explain_entities, ingest_source
from flows.workspace.create import open_workspace
from flows.workspace.locks import workspace_lock
from flows.workspace.source import Origin, PresetName, SourceName, source_for


@flow(name="backfill")
def backfill(
    preset: PresetName | None = None,
    workspace: Path = Path("build/workspace"),
    source: SourceName | None = None,
    source_path: Path | None = None,
    mapping: Path | None = None,
    products: int | None = None,
) -> int:
    """Generate the explanations that the ledger lacks, within the budget; nothing is versioned.

    The source is the one that the workspace remembers; before the first retraining, name it as for the retraining.
    The next retraining reuses the texts. If a run is killed or its budget is spent, run it again.

    Args:
        preset: As for ``retrain``.
        workspace: As for ``retrain``.
        source: As for ``retrain``.
        source_path: As for ``retrain``.
        mapping: As for ``retrain``.
        products: As for ``retrain``.
    """
    named = Origin(preset=preset, source=source, path=source_path, mapping=mapping, products=products)
    source_for(Layout(workspace.resolve()), named)  # fail before a workspace is created
    layout = open_workspace(workspace)
    with workspace_lock(layout):
        origin = source_for(layout, named)
        rows = without_erased(origin.open(layout, progress=True), read_erasures(layout.erasures))
        ingest_source(rows, named_preset(origin.preset), layout, "backfill")
        return explain_entities(layout, open_writer(read_config(layout.config).explain, ledger=layout.ledger))
