import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.repo import Repo

from entityclip.errors import DataError, WorkspaceError
from entityclip.paths import DataLayout, Layout
from flows.workspace.create import open_workspace
from flows.workspace.dvc_hashes import folder_hash, pointer_hash
from flows.workspace.dvc_remote import push
from flows.workspace.repository import Repository
from flows.workspace.versions import data_intact, version_data

pytestmark = pytest.mark.slow

Accepted = Callable[[str], DataLayout]


def head(layout: Layout) -> str:
    return Repository(layout.root).git("rev-parse", "HEAD")


def objects(folder: Path) -> set[str]:
    return {f"{p.parent.name}{p.name}" for p in folder.rglob("*") if p.is_file()}


def default_remote(layout: Layout, url: str, **settings: str) -> None:
    """Point the workspace at another remote, as its user would."""
    with Repo(str(layout.root)) as repo, repo.config.edit("repo") as config:
        config["core"]["remote"] = "nas"
        config["remote"]["nas"] = {"url": url, **settings}


def test_the_hash_is_the_one_that_dvc_computes(workspace: Layout, accepted: Accepted) -> None:
    data = accepted("first")
    (data.root / "日本 と.txt").write_text("a name that JSON escapes")
    version = version_data(workspace, data, message="Data")
    assert version.data_hash == pointer_hash(workspace.data_dvc.read_text()) == folder_hash(data.root)


def test_a_workspace_may_have_a_japanese_name(tmp_path: Path, accepted: Accepted) -> None:
    layout = open_workspace(tmp_path / "商品 写真")
    version = version_data(open_workspace(layout.root), accepted("first"), message="最初のデータ")
    assert version.data_hash in objects(layout.remote)


def test_a_version_is_committed_and_pushed(workspace: Layout, accepted: Accepted) -> None:
    version = version_data(workspace, accepted("first"), message="First data")
    repository = Repository(workspace.root)
    assert version.changed
    assert version.commit == head(workspace)
    assert repository.git("log", "-1", "--format=%s") == "First data"
    assert repository.git("status", "--porcelain") == ""
    assert version.data_hash in objects(workspace.remote)
    assert len(objects(workspace.remote)) == 4


def test_unchanged_data_make_no_commit(workspace: Layout, accepted: Accepted) -> None:
    first = version_data(workspace, accepted("first"), message="First")
    again = version_data(workspace, accepted("first"), message="Again")
    assert again == first.model_copy(update={"changed": False})


def test_data_are_replaced_whole(workspace: Layout, accepted: Accepted) -> None:
    data = accepted("first")
    (data.pairs / "extra-00000-of-00001.parquet").write_text("only in the first version")
    first = version_data(workspace, data, message="First")
    second = version_data(workspace, accepted("second"), message="Second")
    assert second.changed
    assert not list(workspace.data.pairs.glob("extra*"))
    Repository(workspace.root).git("checkout", "-q", first.commit)
    with Repo(str(workspace.root)) as repo:
        repo.checkout()
    assert data_intact(workspace, first.data_hash)


def test_a_pointer_that_is_none_is_named() -> None:
    for text in ("", "outs: nonsense", "outs: []", "[", "<<<<<<< HEAD"):
        with pytest.raises(WorkspaceError, match=r"not a \.dvc file"):
            pointer_hash(text)


def test_half_written_data_are_refused(workspace: Layout, accepted: Accepted) -> None:
    data = accepted("first")
    data.marker.unlink()
    with pytest.raises(DataError, match="half-written"):
        version_data(workspace, data, message="First")
    assert not workspace.data_dvc.exists()


def test_an_edit_that_keeps_size_and_time_is_noticed(workspace: Layout, accepted: Accepted) -> None:
    version = version_data(workspace, accepted("first"), message="First")
    shard = workspace.data.pairs / "train-00000-of-00001.parquet"
    assert data_intact(workspace, version.data_hash)
    times = shard.stat()
    shard.write_text("worst")
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not data_intact(workspace, version.data_hash)


def test_a_rerun_after_a_kill_between_the_two_renames_completes(workspace: Layout, accepted: Accepted) -> None:
    version_data(workspace, accepted("first"), message="First")
    second = accepted("second")
    shutil.copytree(second.root, workspace.incoming("data"))
    workspace.data.root.rename(workspace.outgoing("data"))
    version = version_data(workspace, second, message="Second")
    assert version.changed
    assert data_intact(workspace, folder_hash(second.root))
    assert not workspace.outgoing("data").exists()
    assert not workspace.incoming("data").exists()


@pytest.mark.parametrize("milliseconds", [150, 350, 600])
def test_a_killed_version_is_completed_by_the_next(workspace: Layout, accepted: Accepted, milliseconds: int) -> None:
    data = accepted("first")
    script = (
        "import dvc.repo, pathlib; from entityclip.paths import DataLayout, Layout;"
        "from flows.workspace import versions;"
        f"print(1, flush=True); r = pathlib.Path({str(workspace.root)!r});"
        f"versions.version_data(Layout(r), DataLayout(pathlib.Path({str(data.root)!r})), message='Data')"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline()
    try:
        child.wait(milliseconds / 1000)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    version = version_data(workspace, data, message="Data")
    assert version.commit == head(workspace)
    assert data_intact(workspace, version.data_hash)
    assert Repository(workspace.root).git("status", "--porcelain") == ""
    assert len(objects(workspace.remote)) == 4


def test_a_clone_pulls_the_same_data(workspace: Layout, accepted: Accepted, tmp_path: Path) -> None:
    version = version_data(workspace, accepted("first"), message="First")
    clone = Layout(tmp_path / "clone")
    Repository(tmp_path).git("clone", "-q", str(workspace.root), str(clone.root))
    with Repo(str(clone.root)) as repo:
        repo.pull()
    assert data_intact(clone, version.data_hash)


def test_half_a_list_of_dvc_locks_left_by_a_kill_is_removed(workspace: Layout, accepted: Accepted) -> None:
    workspace.unfinished.touch()
    (workspace.dvc_folder / "tmp" / "rwlock").write_text('{"/data": {"wri')
    assert version_data(workspace, accepted("first"), message="First").changed


# ---------------------------------------------------------------- remotes
def test_an_unmounted_remote_is_not_created_as_a_folder(workspace: Layout, accepted: Accepted, tmp_path: Path) -> None:
    before, disk = head(workspace), tmp_path / "mnt" / "nas"
    default_remote(workspace, str(disk))
    with pytest.raises(WorkspaceError, match=r"'nas'.*mount"):
        version_data(workspace, accepted("first"), message="First")
    assert head(workspace) == before
    assert not disk.exists()
    disk.mkdir(parents=True)
    assert version_data(workspace, accepted("first"), message="First").changed
    assert len(objects(disk)) == 4


def test_an_empty_mount_point_is_not_taken_for_the_remote(
    workspace: Layout, accepted: Accepted, tmp_path: Path
) -> None:
    version_data(workspace, accepted("first"), message="First")
    (tmp_path / "nas").mkdir()
    default_remote(workspace, str(tmp_path / "nas"))
    with pytest.raises(WorkspaceError, match=r"empty.*dvc push --all-commits"):
        version_data(workspace, accepted("second"), message="Second")


def test_a_failed_push_is_completed_by_the_next_run(workspace: Layout, accepted: Accepted, tmp_path: Path) -> None:
    before, blocked = head(workspace), tmp_path / "nas" / "files"
    blocked.parent.mkdir()
    blocked.write_text("a file where DVC wants a folder")
    default_remote(workspace, str(blocked.parent))
    with pytest.raises(WorkspaceError, match=r"pushing to remote 'nas' failed.*run again"):
        version_data(workspace, accepted("first"), message="First")
    assert head(workspace) == before
    blocked.unlink()
    assert version_data(workspace, accepted("first"), message="First").commit == head(workspace)
    assert len(objects(tmp_path / "nas")) == 4


def test_objects_that_the_remote_lost_are_pushed_again(workspace: Layout, accepted: Accepted) -> None:
    version = version_data(workspace, accepted("first"), message="First")
    before = objects(workspace.remote)
    lost = next(p for p in workspace.remote.rglob("*") if p.is_file() and p.suffix != ".dir")
    lost.unlink()
    push(workspace, {workspace.data_dvc: version.data_hash})
    assert objects(workspace.remote) == before


def test_secrets_of_the_remote_stay_out_of_messages(workspace: Layout, accepted: Accepted) -> None:
    url = "http://ada:hunter2@127.0.0.1:9/store"
    default_remote(workspace, url, password="correct-horse", auth="basic", user="ada-lovelace")
    with pytest.raises(WorkspaceError, match="pushing to remote 'nas' failed") as caught:
        version_data(workspace, accepted("first"), message="First")
    assert caught.value.__cause__ is None
    for secret in ("hunter2", "correct-horse", "ada-lovelace"):
        assert secret not in str(caught.value)


def test_without_a_default_remote_the_message_says_how_to_add_one(workspace: Layout, accepted: Accepted) -> None:
    with Repo(str(workspace.root)) as repo, repo.config.edit("repo") as config:
        del config["core"]["remote"]
    with pytest.raises(WorkspaceError, match="dvc remote add --default"):
        version_data(workspace, accepted("first"), message="First")


def test_a_dvc_command_of_somebody_else_is_waited_for(workspace: Layout, accepted: Accepted) -> None:
    holder = (
        "import sys, time; from dvc.repo import Repo; r = Repo(sys.argv[1]);"
        "c = r.lock.__enter__(); print(1, flush=True); time.sleep(5)"
    )
    child = subprocess.Popen([sys.executable, "-c", holder, str(workspace.root)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline()
    assert version_data(workspace, accepted("first"), message="First").changed
    child.kill()
    child.wait()
