"""What a plain clone of this repository contains."""

from pathlib import Path

import pytest
from dvc.repo import Repo

from entityclip.data import pairs
from entityclip.errors import WorkspaceError
from entityclip.paths import Layout
from flows.workspace.dvc_hashes import pointer_hash
from flows.workspace.repository import Repository
from flows.workspace.sample import LIMIT_BYTES, version_sample
from flows.workspace.versions import data_intact


@pytest.fixture
def clone(tmp_path: Path) -> Layout:
    here = Repository(Path(__file__).parents[3])
    if here.git_or_none("rev-parse", "HEAD") is None:
        pytest.skip("the tests do not run in a Git checkout, so there is nothing to clone")
    here.git("clone", "--quiet", "--no-hardlinks", str(here.root), str(tmp_path / "clone"))
    return Layout(tmp_path / "clone")


def test_a_fresh_clone_pulls_the_sample_from_itself(clone: Layout) -> None:
    with Repo(str(clone.root)) as repo:
        repo.pull()
    assert data_intact(clone, pointer_hash(clone.data_dvc.read_text()))
    counts = pairs.require_complete(clone.data)
    assert counts["pairs"] == len(pairs.read_frame(clone.data.pairs))
    assert counts["entities"] == 300


def test_the_sample_is_small_enough_for_every_clone(clone: Layout) -> None:
    sizes = [p.stat().st_size for p in (clone.dvc_folder / "sample-remote").rglob("*") if p.is_file()]
    assert 0 < sum(sizes) < LIMIT_BYTES


def test_the_remote_holds_the_sample_alone(clone: Layout) -> None:
    with Repo(str(clone.root)) as repo:
        repo.pull()
    stored = [p for p in (clone.dvc_folder / "sample-remote" / "files").rglob("*") if p.is_file()]
    assert len(stored) == 1 + sum(p.is_file() for p in clone.data.root.rglob("*"))


def test_the_sample_is_not_put_into_a_remote_elsewhere(workspace: Layout, tmp_path: Path) -> None:
    with Repo(str(workspace.root)) as repo, repo.config.edit("repo") as config:
        config["remote"]["workspace"]["url"] = str(tmp_path / "nas")
    with pytest.raises(WorkspaceError, match="inside the repository"):
        version_sample(workspace)
