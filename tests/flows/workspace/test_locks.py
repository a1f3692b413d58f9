import subprocess
import sys
from pathlib import Path

import pytest

from entityclip.errors import Busy
from entityclip.paths import Layout, device_lock
from flows.workspace.locks import device_lease, physical, workspace_lock

HOLD = (
    "import sys, pathlib; from entityclip.paths import Layout; from flows.workspace.locks import device_lease\n"
    "with device_lease(Layout(pathlib.Path(sys.argv[1])), 'cpu'): print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture(autouse=True)
def own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTITYCLIP_LEASES", str(tmp_path / "leases"))


def workspace_that(tmp_path: Path, *, when_busy: str, wait_hours: float = 1.0) -> Layout:
    layout = Layout(tmp_path / when_busy)
    layout.root.mkdir()
    layout.config.write_text(f"runs:\n  when_busy: {when_busy}\n  wait_hours: {wait_hours}\n")
    return layout


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """Another training, of another workspace, that never ends by itself."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "other")]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.wait()


def test_a_second_training_is_dropped_or_waits_and_a_killed_one_gives_the_device_up(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    dropping = workspace_that(tmp_path, when_busy="drop")
    patient = workspace_that(tmp_path, when_busy="wait", wait_hours=0.2 / 3600)
    with pytest.raises(Busy, match=rf"cpu: another .* \(process {holder.pid} of .*/other\); dropped"):
        device_lease(dropping, "cpu").__enter__()
    with pytest.raises(Busy, match="gave up after"):
        device_lease(patient, "cpu").__enter__()
    holder.kill()
    holder.wait()
    assert device_lock("cpu").exists()  # the file stays, the lock is gone
    with device_lease(dropping, "cpu"):
        pass


def test_trainings_on_different_devices_and_runs_in_different_workspaces_do_not_meet(tmp_path: Path) -> None:
    one, other = workspace_that(tmp_path, when_busy="drop"), workspace_that(tmp_path, when_busy="wait")
    with (
        workspace_lock(one),
        workspace_lock(other),
        device_lease(one, "cpu"),
        device_lease(other, "cuda:1"),
        pytest.raises(Busy, match="another run is at work here"),
    ):
        workspace_lock(one).__enter__()


def test_a_training_in_several_processes_holds_a_gpu_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,4,5")
    one = workspace_that(tmp_path, when_busy="drop")
    with device_lease(one, "cuda", processes=2):
        for held in ("4", "7"):
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", held)
            with pytest.raises(Busy, match=f"cuda-{held}: another training"):
                device_lease(one, "cuda").__enter__()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
        with device_lease(one, "cuda"), device_lease(one, "cpu", processes=2):
            pass


@pytest.mark.parametrize(
    ("device", "visible", "name"),
    [
        ("cpu", None, "cpu"),
        ("cuda", None, "cuda-0"),
        ("cuda:1", None, "cuda-1"),
        ("cuda", "3", "cuda-3"),
        ("cuda:1", "2, 5", "cuda-5"),
        ("cuda", "", "cuda-0"),
    ],
)
def test_a_lease_is_of_the_device_behind_the_name(device, visible, name, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert physical(device) == name
