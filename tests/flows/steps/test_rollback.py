"""Three real releases, walked back and forth while one service answers: real Git, DVC, GTO, BentoML."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from tiny import tiny_data, tiny_model, tiny_picture

from bentos.build.smoke_test import serving
from bentos.middleware import keys
from entityclip.errors import PackagingError, WorkspaceError
from entityclip.evaluation.evaluate import evaluate
from entityclip.paths import CheckpointLayout, Layout
from entityclip.schemas import BentoRecord, PromotionDecision, Release
from flows.steps.deploy_release import certified_before, go_live, packaged, record_serving_check, run_smoke_test
from flows.steps.rollback import roll_back
from flows.workspace.dvc_hashes import folder_hash
from flows.workspace.history import at, history_entries
from flows.workspace.registry import assign_champion, champion
from flows.workspace.repository import Repository
from flows.workspace.versions import release, version_data

pytestmark = pytest.mark.slow
Decided = Callable[..., PromotionDecision]


def make_release(layout: Layout, scratch: Path, decided: Decided, *, number: int) -> Release:
    """A model of its own on data and rules of their own, tested and live."""
    accepted = tiny_data(scratch / f"accepted-{number}", held_out=number)
    layout.config.write_text(f"promotion:\n  max_slice_drop: {number}.0\n")
    version = version_data(layout, accepted, message=f"Data {number}")
    model = tiny_model(scratch / f"checkpoint-{number}", seed=number, data_hash=version.data_hash)
    report, _ = evaluate(model, layout.data, progress=False)
    made = release(
        layout,
        checkpoint=CheckpointLayout(scratch / f"checkpoint-{number}"),
        reports={"evaluation": report, "card": model.card},
        decision=decided(model.card.fingerprint, version.data_hash),
    )
    bento = packaged(layout, made)
    if number == 1:
        require_certified(layout, made, bento)
    else:  # as an earlier run had left it
        bento.model_copy(update={"largest_difference": 0.0}).write(layout.receipt(f"smoke-{made.version}"))
    go_live(layout, made)
    return assign_champion(layout, made.version, message=f"Better by {number}")


def require_certified(layout: Layout, made: Release, bento: BentoRecord) -> None:
    """A smoke test certifies the release; a later run believes it under the same budgets alone."""
    assert certified_before(layout, made) is None
    tested, serving_check = run_smoke_test(layout, made, bento)
    assert serving_check.certified
    record_serving_check(layout, serving_check)
    assert certified_before(layout, made) == (tested, serving_check)  # a run killed here does not certify it again
    settings = layout.config.read_text()
    layout.config.write_text("promotion:\n  max_slice_drop: 50.0\n")
    assert certified_before(layout, made) is None
    layout.config.write_text(settings)


def served(client: httpx.Client, version: str) -> dict[str, float]:
    """Entity -> score of one picture, once the service follows."""
    end = time.monotonic() + 60
    while client.post("/about", json={}).json()["release"]["version"] != version:
        assert time.monotonic() < end, f"the service does not follow to {version}"
        time.sleep(0.2)
    tiny_picture("red", 3).save(picture := io.BytesIO(), format="PNG")
    answer = client.post("/tag", data={"k": "6"}, files={"image": ("red.png", picture.getvalue())})
    assert answer.status_code == 200, answer.text
    return {tag["entity"]: tag["score"] for tag in answer.json()["tags"]}


def test_three_releases_are_walked_back_and_forth_and_the_service_follows(
    workspace: Layout, tmp_path: Path, decided: Decided
) -> None:
    releases, contents = [], {}
    for number in (1, 2, 3):
        made = make_release(workspace, tmp_path, decided, number=number)
        releases.append(made)
        contents[made.version] = state_of_files(workspace)
    assert [made.version for made in releases] == ["v1.0.0", "v1.1.0", "v1.2.0"]
    assert len({made.data_hash for made in releases}) == 3

    key = keys.make(workspace.service.keys, name="test", per_minute=6000)
    state = workspace.service.root
    with serving("entityclip-service:v1.2.0", store=workspace.bento_home, state=state) as url:
        client = httpx.Client(base_url=url, timeout=60, headers={"Authorization": f"Bearer {key}"})
        first = {"v1.2.0": served(client, "v1.2.0")}
        for version in ("v1.0.0", "v1.1.0", "v1.2.0", "v1.0.0"):
            now = roll_back(workspace, version, reason="to see")
            assert champion(workspace) == now
            assert now.version == version
            scores = served(client, version)
            assert scores == pytest.approx(first.setdefault(version, scores), abs=1e-6)
            assert state_of_files(workspace) == contents[version]
    assert len({round(sum(scores.values()), 4) for scores in first.values()}) == 3  # three models, not one
    assert Repository(workspace.root).git("status", "--porcelain") == ""
    assert roll_back(workspace, "v1.0.0", reason="again") == champion(workspace)

    known = history_entries(workspace)
    assert [entry.period.version for entry in known][-4:] == ["v1.0.0", "v1.1.0", "v1.2.0", "v1.0.0"]
    assert known[-1].period.message == "Back from v1.2.0: to see"
    assert (known[-1].model, known[-1].data) == (releases[0].model_fingerprint, releases[0].data_hash)
    assert known[-1].code == "code"
    assert at(known, known[1].period.since) == known[1]
    assert at(known, known[0].period.since - timedelta(seconds=1)) is None


def state_of_files(layout: Layout) -> tuple[str, str, str, str]:
    """Data and model as they lie there, settings and the release's reports."""
    reports = "".join(path.read_text() for path in sorted(layout.reports.glob("*.json")))
    return folder_hash(layout.data.root), folder_hash(layout.model.root), layout.config.read_text(), reports


def test_a_release_that_never_was_champion_is_no_way_back(workspace: Layout, tmp_path: Path, decided: Decided) -> None:
    accepted = tiny_data(tmp_path / "accepted")
    version = version_data(workspace, accepted, message="Data")
    model = tiny_model(tmp_path / "checkpoint", data_hash=version.data_hash)
    decision = decided(model.card.fingerprint, version.data_hash)
    made = release(workspace, checkpoint=CheckpointLayout(tmp_path / "checkpoint"), reports={}, decision=decision)
    with pytest.raises(PackagingError, match="was never the champion"):
        roll_back(workspace, made.version, reason="")
    with pytest.raises(WorkspaceError, match=r"no release v7\.0\.0"):
        roll_back(workspace, "v7.0.0", reason="")
