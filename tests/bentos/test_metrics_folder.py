"""Every running server has a folder of its own for its metrics, and leaves none behind for ever."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bentos.runtime.metrics_folder import OTHERS_SECONDS, SHARED, VARIABLE, claim, use_own_folder
from entityclip.paths import StoreLayout


@pytest.fixture
def store(tmp_path: Path) -> StoreLayout:
    return StoreLayout(tmp_path / "ストア")


def age(folder: Path, *, seconds: float) -> None:
    for path in (*folder.iterdir(), folder):
        os.utime(path, (time.time() - seconds,) * 2)


def test_workers_of_one_server_share_a_folder_and_keep_what_is_in_it(store):
    folder = claim(store, server=os.getpid())
    (folder / "counter_1.db").write_bytes(b"40")
    assert claim(store, server=os.getpid()) == folder
    assert (folder / "counter_1.db").read_bytes() == b"40"
    assert folder.stat().st_mode & 0o077 == 0


def test_another_server_of_the_store_gets_another_folder(store):
    mine, other = claim(store, server=os.getpid()), claim(store, server=os.getppid())
    assert mine != other
    assert mine.is_dir()


def test_folder_of_a_server_that_ended_is_deleted(store):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    folder = claim(store, server=ended.pid)
    ended.wait()
    claim(store, server=os.getpid())
    assert not folder.exists()


def test_folder_of_an_older_process_with_the_same_number_is_emptied(store):
    folder = claim(store, server=os.getpid())
    (folder / "counter_1.db").write_bytes(b"40")
    age(folder, seconds=10 * 86400)
    assert list(claim(store, server=os.getpid()).iterdir()) == []


def test_folder_of_another_machine_on_the_same_volume_is_kept_until_it_is_silent_for_long(store):
    other = store.metrics(f"pod-of-{socket.gethostname()}-7")
    other.mkdir(parents=True)
    (other / "counter_1.db").write_bytes(b"40")
    claim(store, server=os.getpid())
    assert other.is_dir()
    age(other, seconds=OTHERS_SECONDS + 60)
    claim(store, server=os.getpid())
    assert not other.exists()


@pytest.mark.parametrize("shared", [None, "/tmp/tmpabc"])
def test_only_the_folder_that_servers_share_is_replaced(shared, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    if shared:
        monkeypatch.setenv(VARIABLE, shared)
    use_own_folder()
    assert os.environ.get(VARIABLE) == shared


def test_worker_counts_in_its_servers_folder(store, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(store.root / SHARED))
    use_own_folder()
    assert Path(os.environ[VARIABLE]) == store.metrics(f"{socket.gethostname()}-{os.getppid()}")
