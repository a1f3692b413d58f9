"""Erasure under kills, locks and remotes that are away."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from dvc.repo import Repo
from person import (
    NAME,
    NEEDLES,
    PERSON,
    entity_request,
    person_data,
    traces,
)

from entityclip.data.erasure import ErasureRequest, read_erasures
from entityclip.errors import Busy, DataError, WorkspaceError
from entityclip.paths import Layout
from flows.erasure import erase as erasing
from flows.erasure.erase import erase
from flows.workspace.dvc_hashes import folder_hash
from flows.workspace.locks import workspace_lock
from flows.workspace.versions import version_data

pytestmark = pytest.mark.slow

STEPS = ("_recorded", "_make_again", "_erase_places", "_delete_versions")


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_killed_after_any_step_the_same_call_completes_it(filled: Layout, step: str) -> None:
    script = (
        "import os, sys; from pathlib import Path; from entityclip.paths import Layout;"
        "from entityclip.data.erasure import ErasureRequest; from flows.erasure import erase as e;"
        f"real = e.{step};"
        f"e.{step} = lambda *a: (real(*a), os.kill(os.getpid(), 9));"
        "e.erase(Layout(Path(sys.argv[1])), ErasureRequest(kind='entity', value=sys.argv[2]), by='ana')"
    )
    done = subprocess.run([sys.executable, "-c", script, str(filled.root), PERSON], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with pytest.raises(WorkspaceError, match=r"ana began on .* interrupted"):
        erase(filled, ErasureRequest(kind="entity", value="KX-RED"), by="ana")
    assert erase(filled, entity_request(), by="ana").erased
    assert traces(filled.root, NEEDLES) == []
    (record,) = read_erasures(filled.erasures)
    assert record.finished
    assert record.versions
    for version in record.versions:
        assert not list(filled.root.glob(f".*/**/{version[2:]}"))


def test_killed_amid_the_deletion_the_rest_of_each_version_goes(filled: Layout) -> None:
    doomed = folder_hash(filled.data.root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(erasing, "_delete_versions", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            erase(filled, entity_request(), by="ana")
    with Repo(str(filled.root)) as repo:  # the shards that say so are gone, the others and the list are not
        cache = repo.cache.local
        listing = json.loads(Path(cache.oid_to_path(doomed)).read_text())
        left = [entry["md5"] for entry in listing if entry["relpath"].startswith("pairs/train")]
        for oid in left:
            Path(cache.oid_to_path(oid)).unlink()
            Path(repo.cloud.get_remote_odb("workspace").oid_to_path(oid)).unlink()
    erase(filled, entity_request(), by="ana")
    assert traces(filled.root, NEEDLES) == []
    assert not list(filled.root.glob(f".*/**/{doomed[2:]}"))


def test_a_remote_that_is_away_is_refused_before_anything_is_deleted(filled: Layout, tmp_path: Path) -> None:
    with Repo(str(filled.root)) as repo, repo.config.edit("repo") as config:
        config["remote"]["nas"] = {"url": str(tmp_path / "nas")}
    before = traces(filled.root, NEEDLES)
    with pytest.raises(WorkspaceError, match=r"remote 'nas': .*nas is not a folder; nothing was erased"):
        erase(filled, entity_request(), by="ana")
    (tmp_path / "nas").mkdir()
    with pytest.raises(WorkspaceError, match=r"remote 'nas': .*nas is empty; nothing was erased"):
        erase(filled, entity_request(), by="ana")
    assert traces(filled.root, NEEDLES) == before
    assert not filled.erasures.exists()


@pytest.mark.parametrize(
    ("remote", "reason"),
    [
        ({"url": "http://127.0.0.1:9/store"}, "HTTP cannot delete; nothing was erased"),
        ({"url": "s3://bucket/store", "endpointurl": "http://127.0.0.1:9"}, "before anything is deleted, failed"),
    ],
    ids=["http", "s3"],
)
def test_a_server_that_cannot_delete_or_answer_is_refused_before_anything_is_deleted(
    filled: Layout, remote: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with Repo(str(filled.root)) as repo, repo.config.edit("repo") as config:
        config["remote"]["far"] = remote
    before = traces(filled.root, NEEDLES)
    with pytest.raises(WorkspaceError, match=reason):
        erase(filled, entity_request(), by="ana")
    assert traces(filled.root, NEEDLES) == before


def test_every_remote_is_cleared_not_only_the_default_one(filled: Layout, tmp_path: Path) -> None:
    with Repo(str(filled.root)) as repo, repo.config.edit("repo") as config:
        config["remote"]["nas"] = {"url": str(tmp_path / "nas")}
    shutil.copytree(filled.remote, tmp_path / "nas")
    shutil.rmtree(filled.dvc_folder / "cache")  # only the remotes are left to tell
    erase(filled, entity_request(), by="ana")
    assert traces(filled.root, NEEDLES) == []
    for path in (tmp_path / "nas").rglob("*"):
        if path.is_file() and path.read_bytes()[:4] == b"PAR1":
            assert NAME not in repr(pq.read_table(path).to_pylist())


def test_a_workspace_without_a_remote_is_erased(filled: Layout) -> None:
    with Repo(str(filled.root)) as repo, repo.config.edit("repo") as config:
        del config["core"]["remote"], config["remote"]["workspace"]
    shutil.rmtree(filled.remote)
    erase(filled, entity_request(), by="ana")
    assert traces(filled.root, NEEDLES) == []


def test_a_run_at_work_is_not_disturbed(filled: Layout) -> None:
    filled.config.write_text("runs:\n  when_busy: drop\n")
    with workspace_lock(filled), pytest.raises(Busy, match="another run is at work"):
        erase(filled, entity_request(), by="ana")


def test_data_of_her_alone_are_refused_with_the_remedy(workspace: Layout, tmp_path: Path) -> None:
    data = person_data(tmp_path / "data", pictures=1)
    version_data(workspace, data, message="Data")
    with pytest.raises(DataError, match="no pair would be left; delete the workspace"):
        erase(workspace, ErasureRequest(kind="text", value="KX-"), by="ana") and erase(
            workspace, entity_request(), by="ana"
        )
