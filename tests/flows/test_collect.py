import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bentos.runtime.active_release import Live
from entityclip.paths import CheckpointLayout, DataLayout, Layout, StoreLayout
from entityclip.schemas import Approval, PromotionDecision
from flows.collect import needed_versions, sweep
from flows.workspace.registry import assign_champion
from flows.workspace.versions import release, version_data

Decided = Callable[..., PromotionDecision]


@pytest.fixture
def lived_in(
    workspace: Layout,
    accepted: Callable[[str], DataLayout],
    checkpoint: Callable[[str], CheckpointLayout],
    decided: Decided,
) -> Layout:
    """Five releases; the first four were champions, each with a Bento and a copy; two runs, one of them old."""
    data = version_data(workspace, accepted("first"), message="Data").data_hash
    store = StoreLayout(workspace.bento_home)
    for number, name in enumerate("abcde"):
        made = release(workspace, checkpoint=checkpoint(name), reports={}, decision=decided(name, data))
        if number < 4:
            assign_champion(workspace, made.version, message="")
        for folder in (
            store.bento(made.version),
            store.model(made.version).root,
            workspace.release_copy(made.version),
        ):
            folder.mkdir(parents=True)
            (folder / "file").write_bytes(b"x" * 1000)
    for name, days in (("old", 40), ("new", 1)):
        file = workspace.run(name).checkpoint.weights
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x" * 2000)
        for path in (file, file.parent, workspace.run(name).root):
            os.utime(path, times=2 * (time.time() - days * 86400,))
    return workspace


@pytest.mark.slow
def test_only_unneeded_folders_are_deleted_and_only_on_request(lived_in: Layout) -> None:
    found = sweep(lived_in, dry=True, days=30)
    gone = {(item.what, item.path.name) for item in found}
    versions = ("v1.0.0", "v1.1.0", "v1.4.0")
    kinds = ("copy of a release", "Bento", "packaged model")
    assert gone == {("run", "old")} | {(kind, version) for kind in kinds for version in versions}
    assert all(item.path.is_dir() for item in found)
    assert sweep(lived_in, dry=False, days=30) == found
    assert not any(item.path.exists() for item in found)
    assert lived_in.run("new").checkpoint.weights.exists()
    assert StoreLayout(lived_in.bento_home).bento("v1.3.0").is_dir()
    assert sweep(lived_in, dry=True, days=30) == ()


@pytest.mark.slow
def test_what_a_service_has_in_memory_and_what_waits_for_a_person_stays(lived_in: Layout, tmp_path: Path) -> None:
    assert needed_versions(lived_in) == {"v1.2.0", "v1.3.0"}
    Live(champion=tmp_path / "v1.3.0", previous=tmp_path / "v1.0.0").write(lived_in.service.live)
    now = datetime.now(UTC)
    Approval(version="v1.4.0", requested=now, until=now + timedelta(hours=1)).write(lived_in.approval("v1.4.0"))
    assert needed_versions(lived_in) == {"v1.0.0", "v1.2.0", "v1.3.0", "v1.4.0"}
