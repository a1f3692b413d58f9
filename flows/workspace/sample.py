"""This repository's own ``data/``: the built-in catalogue, passed through the gate.

The repository is a workspace whose DVC remote is a folder inside it, so that ``dvc pull`` needs only the clone. Run
``python -m flows.workspace.sample`` to rebuild both after a change to the catalogue, the rules or the pipeline.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from entityclip.data.ingest import ingest
from entityclip.data.sources import SourceOptions, open_source
from entityclip.errors import GateRefused, WorkspaceError
from entityclip.explanations import SourceWriter, explain
from entityclip.paths import Layout
from entityclip.schemas import DataVersion, QualityReport
from expectations.check import check
from flows.workspace.repository import Repository
from flows.workspace.versions import version_data

LIMIT_BYTES = 15_000_000
"""Maximum size of the remote inside the repository: every clone contains it."""


def accept_catalog(layout: Layout) -> QualityReport:
    """Ingest, explain and check the catalogue; accepted rows are in ``layout.accepted``.

    Raises:
        GateRefused: The rules refuse the batch.
    """
    source = open_source(SourceOptions(source="catalog"), layout=layout, progress=True)
    ingest(source, staging=layout.staging, rejected=layout.rejected("sample"))
    explain(layout.staging, writer=SourceWriter(), ledger=layout.ledger)
    quarantine = layout.quarantine("sample")
    quality = check(layout.staging, accepted=layout.accepted, quarantine=quarantine, context_root=layout.expectations)
    if quality.refused:
        raise GateRefused(f"the catalogue was refused: {quality.refusal}; see {quality.quarantine_file}")
    return quality


def version_sample(layout: Layout) -> DataVersion:
    """Replace ``data/`` and the remote's objects by the accepted rows, in one commit.

    Raises:
        WorkspaceError: The default remote is elsewhere, or the sample is too big for a clone.
    """
    remote = Path(Repository(layout.root).dvc(_default_url, doing="reading DVC's config"))
    if layout.root not in remote.parents:
        raise WorkspaceError(
            f"{remote}: is outside {layout.root}; the sample is kept in a remote inside the repository"
        )
    size = sum(p.stat().st_size for p in layout.accepted.root.rglob("*") if p.is_file())
    if size > LIMIT_BYTES:
        raise WorkspaceError(f"{layout.accepted.root}: {size} bytes, at most {LIMIT_BYTES} fit; draw fewer products")
    # Delete only DVC's objects: an empty remote would look like a disk that is not mounted.
    shutil.rmtree(remote / "files", ignore_errors=True)
    return version_data(
        layout, layout.accepted, message="chore: the built-in sample, made again", together_with=[remote]
    )


def _default_url(repo: Any) -> str:
    return str(repo.config["remote"][repo.config["core"]["remote"]]["url"])


if __name__ == "__main__":
    here = Layout(Path(__file__).resolve().parents[2])
    passed = accept_catalog(here)
    made = version_sample(here)
    what = "committed" if made.changed else "unchanged"
    print(f"{passed.accepted_pairs} pairs, {passed.accepted_explanations} explanations: {made.data_hash} ({what})")
