"""Erasure of data that a release was trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from person import (
    NEEDLES,
    entity_request,
    person_data,
    traces,
)
from tiny import tiny_model

from entityclip.data.erasure import read_erasures
from entityclip.errors import WorkspaceError
from entityclip.evaluation.evaluate import evaluate
from entityclip.paths import CheckpointLayout, Layout
from entityclip.schemas import PromotionDecision
from flows.erasure.erase import erase, preview
from flows.steps.deploy_release import go_live, packaged, served_package
from flows.steps.rollback import roll_back
from flows.workspace.registry import assign_champion, champion, history, versions
from flows.workspace.repository import Repository
from flows.workspace.versions import release, version_data

Decided = Callable[..., PromotionDecision]


@pytest.fixture
def served(workspace: Layout, tmp_path: Path, decided: Decided) -> Layout:
    """v1.0.0 without her, v1.1.0 with her: the champion, packaged and live."""
    for number in (0, 1):
        version = version_data(
            workspace, person_data(tmp_path / f"d{number}", pictures=2 * number, held_out=1), message=f"Data {number}"
        )
        folder = tmp_path / f"checkpoint-{number}"
        model = tiny_model(folder, seed=number, data_hash=version.data_hash)
        report, _ = evaluate(model, workspace.data, progress=False)
        made = release(
            workspace,
            checkpoint=CheckpointLayout(folder),
            reports={"evaluation": report, "card": model.card},
            decision=decided(model.card.fingerprint, version.data_hash),
        )
        packaged(workspace, made)
        go_live(workspace, made)
        assign_champion(workspace, made.version, message="Better")
    return workspace


@pytest.mark.slow
def test_a_release_of_such_data_is_gone_with_its_bento_and_the_one_before_stays(served: Layout) -> None:
    repository = Repository(served.root)
    seen = preview(served, entity_request())
    assert seen.releases == ("v1.1.0",)
    assert any(line.what.startswith("entityclip-service:v1.1.0") for line in seen.found)
    done = erase(served, entity_request(), by="ana")
    assert traces(served.root, NEEDLES) == []
    assert champion(served) is None
    assert history(served)[-1].until is not None
    assert list(versions(served)) == ["v1.0.0", "v1.1.0"]
    assert len(done.models) == 1
    assert not served.service.live.exists()
    with pytest.raises(WorkspaceError, match=r"v1\.1\.0: its data were erased at a request .* left: v1\.0\.0"):
        roll_back(served, "v1.1.0", reason="to see")
    assert served_package(served, release_of_first(served)).exists()
    assert repository.git("status", "--porcelain") == ""
    assert roll_back(served, "v1.0.0", reason="until the next one").version == "v1.0.0"
    assert read_erasures(served.erasures)


def release_of_first(layout: Layout) -> Any:
    from flows.workspace.registry import release_of

    return release_of(layout, "v1.0.0")
