import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from entityclip.errors import WorkspaceError
from entityclip.paths import CheckpointLayout, DataLayout, Layout
from entityclip.schemas import IngestReport, PromotionDecision, Release
from flows.workspace import registry
from flows.workspace.dvc_hashes import folder_hash
from flows.workspace.registry import (
    assign_champion,
    champion,
    fetch_release,
    history,
    last_champions,
    unassign_champion,
    was_champion,
)
from flows.workspace.repository import Repository
from flows.workspace.versions import record_decision, release, version_data

pytestmark = pytest.mark.slow

Decided = Callable[..., PromotionDecision]
Checkpoint = Callable[[str], CheckpointLayout]
INGEST = IngestReport(source="table", pairs=2, entities=2, rejected=0, rejected_file=None, seconds=1.0)


@pytest.fixture
def data_hash(workspace: Layout, accepted: Callable[[str], DataLayout]) -> str:
    return version_data(workspace, accepted("first"), message="Data").data_hash


@pytest.fixture
def released(workspace: Layout, checkpoint: Checkpoint, decided: Decided, data_hash: str) -> Callable[[str], Release]:
    """Releases a model on the data in place."""

    def release_model(fingerprint: str) -> Release:
        decision = decided(fingerprint, data_hash)
        made = release(workspace, checkpoint=checkpoint(fingerprint), reports={"ingest": INGEST}, decision=decision)
        return (
            made
            if was_champion(workspace, made.version)
            else assign_champion(workspace, made.version, message="it won")
        )

    return release_model


def tags(layout: Layout) -> list[str]:
    return Repository(layout.root).git("tag").splitlines()


def test_without_a_release_there_is_no_champion(workspace: Layout) -> None:
    assert champion(workspace) is None
    assert history(workspace) == []


def test_a_release_is_one_commit_with_everything(
    workspace: Layout, released: Callable[[str], Release], data_hash: str
) -> None:
    repository = Repository(workspace.root)
    made = released("alpha")
    names = set(repository.git("ls-tree", "-r", "--name-only", made.commit).splitlines())
    assert {"data.dvc", "model.dvc", "dvc.yaml", "entityclip.yaml", "reports/promotion.json"} <= names
    assert "reports/ingest.json" in names
    assert repository.git("status", "--porcelain") == ""
    assert (made.version, made.model_fingerprint, made.data_hash) == ("v1.0.0", "alpha", data_hash)
    assert champion(workspace) == made


def test_versions_count_up_and_history_shows_what_was_live_when(
    workspace: Layout, released: Callable[[str], Release]
) -> None:
    first, second = released("alpha"), released("beta")
    assert (first.version, second.version) == ("v1.0.0", "v1.1.0")
    one, two = history(workspace)
    assert (one.version, two.version) == ("v1.0.0", "v1.1.0")
    assert one.until == two.since > one.since
    assert two.until is None


def test_the_same_model_is_not_released_twice(workspace: Layout, released: Callable[[str], Release]) -> None:
    first = released("alpha")
    before = tags(workspace)
    assert released("alpha") == first
    assert tags(workspace) == before


def test_a_rollback_is_the_champion_though_a_higher_version_exists(
    workspace: Layout, released: Callable[[str], Release]
) -> None:
    first, second = released("alpha"), released("beta")
    with pytest.raises(WorkspaceError, match="was the champion before"):
        assign_champion(workspace, "v1.0.0", message="")
    assert assign_champion(workspace, "v1.0.0", message="it was better", force=True) == first == champion(workspace)
    assert released("beta") == second
    assert champion(workspace) == first
    assert [r.version for r in history(workspace)] == ["v1.0.0", "v1.1.0", "v1.0.0"]
    assert [r.message for r in history(workspace)] == ["it won", "it won", "it was better"]
    assert last_champions(workspace, count=3) == ["v1.0.0"]  # what was taken out of service sets no standard


def test_last_champions_are_the_newest_first(workspace: Layout, released: Callable[[str], Release]) -> None:
    assert last_champions(workspace, count=3) == []
    for fingerprint in ("alpha", "beta", "gamma"):
        released(fingerprint)
    assert last_champions(workspace, count=2) == ["v1.2.0", "v1.1.0"]
    assert last_champions(workspace, count=9) == ["v1.2.0", "v1.1.0", "v1.0.0"]
    unassign_champion(workspace, "v1.2.0", message="erased")
    assert last_champions(workspace, count=3) == []


def test_an_unknown_version_is_named_with_those_that_exist(
    workspace: Layout, released: Callable[[str], Release]
) -> None:
    released("alpha")
    with pytest.raises(WorkspaceError, match=r"v9\.9\.9; there are: v1\.0\.0"):
        assign_champion(workspace, "v9.9.9", message="")


@pytest.mark.parametrize("step", ["versions.register", "registry.assign_stage"])
def test_a_kill_before_a_tag_is_completed_without_a_second_release(
    workspace: Layout, released: Callable[[str], Release], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"flows.workspace.{step}", killed)
        with pytest.raises(KeyboardInterrupt):
            released("alpha")
    commit = Repository(workspace.root).git("rev-parse", "HEAD")
    made = released("alpha")
    assert made.commit == commit
    assert tags(workspace) == ["entityclip#champion#1", "entityclip@v1.0.0"]
    assert champion(workspace) == made


@pytest.mark.parametrize("milliseconds", [200, 500, 900])
def test_a_killed_release_is_completed_by_the_next(
    workspace: Layout, checkpoint: Checkpoint, decided: Decided, data_hash: str, milliseconds: int
) -> None:
    decision, made = decided("alpha", data_hash), checkpoint("alpha")
    script = (
        "import dvc.repo, gto.api, pathlib; from entityclip.paths import CheckpointLayout, Layout;"
        "from entityclip.schemas import PromotionDecision; from flows.workspace.versions import release;"
        "print(1, flush=True);"
        f"release(Layout(pathlib.Path({str(workspace.root)!r})), reports={{}},"
        f"checkpoint=CheckpointLayout(pathlib.Path({str(made.root)!r})),"
        f"decision=PromotionDecision.model_validate_json({decision.model_dump_json()!r}))"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline()
    try:
        child.wait(milliseconds / 1000)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    final = release(workspace, checkpoint=made, reports={}, decision=decision)
    assert champion(workspace) is None
    assert tags(workspace) == [f"entityclip@{final.version}"] == ["entityclip@v1.0.0"]
    assert folder_hash(workspace.model.root) == folder_hash(made.root)


def test_a_refused_challenger_leaves_a_decision_and_nothing_else(
    workspace: Layout, released: Callable[[str], Release], decided: Decided, data_hash: str
) -> None:
    first = released("alpha")
    model = workspace.model_dvc.read_text()
    refusal = decided("beta", data_hash, promoted=False)
    path = record_decision(workspace, refusal)
    assert PromotionDecision.model_validate_json(path.read_text()) == refusal
    assert record_decision(workspace, refusal) == path
    assert Repository(workspace.root).git("log", "--format=%s", "--", str(path)).count("\n") == 0
    assert workspace.model_dvc.read_text() == model
    assert champion(workspace) == first


def test_only_the_promoted_model_on_its_data_is_released(
    workspace: Layout, checkpoint: Checkpoint, decided: Decided, data_hash: str
) -> None:
    for decision, reason in [
        (decided("alpha", data_hash, promoted=False), "not promoted"),
        (decided("alpha", "another.dir"), "the decision is about another"),
        (decided("beta", data_hash), "promoted beta"),
    ]:
        with pytest.raises(WorkspaceError, match=reason):
            release(workspace, checkpoint=checkpoint("alpha"), reports={}, decision=decision)
    assert tags(workspace) == []
    assert not workspace.model_dvc.exists()


# ---------------------------------------------------------------- fetching
def test_a_release_comes_back_as_it_was(
    workspace: Layout, released: Callable[[str], Release], accepted: Callable[[str], DataLayout], data_hash: str
) -> None:
    first = released("alpha")
    released("beta")
    version_data(workspace, accepted("second"), message="Later data")
    copy = fetch_release(workspace, "v1.0.0", data=True)
    assert copy.model.weights.read_text() == "alpha"
    assert folder_hash(copy.data.root) == data_hash
    assert Release.model_validate_json(copy.report("release").read_text()) == first
    assert copy.report("ingest").read_bytes() == workspace.report("ingest").read_bytes()
    assert fetch_release(workspace, "v1.0.0").root == copy.root


def test_a_damaged_cache_is_repaired_from_the_remote(workspace: Layout, released: Callable[[str], Release]) -> None:
    released("alpha")
    for cached in (workspace.dvc_folder / "cache").rglob("*"):
        if cached.is_file():
            cached.chmod(0o644)
            cached.write_text("damaged")
    assert fetch_release(workspace, "v1.0.0").model.weights.read_text() == "alpha"


def test_a_damaged_remote_is_refused(workspace: Layout, released: Callable[[str], Release]) -> None:
    released("alpha")
    shutil.rmtree(workspace.dvc_folder / "cache")
    for stored in workspace.remote.rglob("*"):
        if stored.is_file() and stored.suffix != ".dir":
            stored.chmod(0o644)
            stored.write_text("damaged")
    with pytest.raises(WorkspaceError, match="damaged"):
        fetch_release(workspace, "v1.0.0")
    assert not workspace.release_copy("v1.0.0").exists()


def test_dvc_itself_finds_the_champion(workspace: Layout, released: Callable[[str], Release], tmp_path: Path) -> None:
    released("alpha")
    released("beta")
    assign_champion(workspace, "v1.0.0", message="it was better", force=True)
    dvc = Path(sys.executable).with_name("dvc")
    arguments = ["artifacts", "get", ".", registry.ARTIFACT, "--stage", registry.CHAMPION, "-o", str(tmp_path / "out")]
    subprocess.run([dvc, *arguments], cwd=workspace.root, check=True, capture_output=True)
    assert (tmp_path / "out" / "model.safetensors").read_text() == "alpha"


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs ssh-keygen, of the package openssh-client")
def test_tags_of_a_release_are_signed_with_the_key_that_git_knows(
    workspace: Layout, released: Callable[[str], Release], tmp_path: Path
) -> None:
    key, repository = tmp_path / "team", Repository(workspace.root)
    first = released("alpha")
    before, unsigned = history(workspace), repository.git("for-each-ref", "refs/tags")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (tmp_path / "allowed").write_text(f"* {key.with_suffix('.pub').read_text()}")
    settings = {"gpg.format": "ssh", "gpg.ssh.allowedSignersFile": tmp_path / "allowed", "tag.gpgSign": "yes"}
    for name, value in (settings | {"user.signingkey": tmp_path / "missing"}).items():
        repository.git("config", name, str(value))
    for _ in range(3):  # also where everything but the signature is there
        with pytest.raises(WorkspaceError, match=r"cannot sign entityclip@v1\.1\.0; see .*user\.signingkey"):
            released("beta")
    repository.git("config", "user.signingkey", str(key))
    second = released("beta")
    for tag in ("entityclip@v1.1.0", "entityclip#champion#2"):
        repository.git("verify-tag", tag)
    assert set(unsigned.splitlines()) < set(repository.git("for-each-ref", "refs/tags").splitlines())  # not signed late
    assert [period.message for period in history(workspace)] == ["it won", "it won"]
    assert history(workspace)[0].since == before[0].since
    assert (history(workspace)[0].version, champion(workspace)) == (first.version, second)
    signed = repository.git("for-each-ref", "refs/tags")
    registry.sign_version(workspace, "v1.1.0")
    assert repository.git("for-each-ref", "refs/tags") == signed
    assign_champion(workspace, "v1.0.0", message="back:\n-----BEGIN SSH SIGNATURE-----\nno", force=True)
    repository.git("verify-tag", "entityclip#champion#3")
    assert history(workspace)[-1].message == "back:\n- BEGIN SSH SIGNATURE-----\nno"
