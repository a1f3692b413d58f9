"""Texts for entities that have none, written ahead of the night: the ledger keeps each the moment it arrives."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from entityclip.explain import open_writer
from entityclip.presets import preset as named_preset
from entityclip.sources import open_source
from entityclip.workspace import read_config
from flows.data import explain_entities, ingest_source
from flows.lease import alone
from flows.retrain import PresetName, SourceName
from flows.workspace import open_workspace


@flow(name="backfill", flow_run_name="backfill-{preset}")
def backfill(
    preset: PresetName = "demo",
    workspace: Path = Path("build/workspace"),
    source: SourceName | None = None,
    source_path: Path | None = None,
    mapping: Path | None = None,
    products: int | None = None,
) -> int:
    """Have the workspace's writer explain what the ledger lacks, within its budget; nothing is versioned.

    The next retraining finds the texts paid for. A run that is killed, or whose budget is spent, is simply run again.

    Args:
        preset: As of the retraining.
        workspace: As of the retraining.
        source: As of the retraining.
        source_path: As of the retraining.
        mapping: As of the retraining.
        products: As of the retraining.
    """
    layout, settings = open_workspace(workspace), named_preset(preset)
    with alone(layout):
        rows = open_source(
            source or settings.source,
            layout=layout,
            path=source_path,
            mapping=mapping,
            products=products,
            progress=True,
        )
        ingest_source(rows, settings, layout, "backfill")
        return explain_entities(layout, open_writer(read_config(layout.config).explain, ledger=layout.ledger))
