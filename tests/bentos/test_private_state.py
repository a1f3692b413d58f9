"""What a service keeps is readable by its own account alone, whatever the umask, and also where it was open before."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bentos.middleware import keys
from bentos.runtime import active_release
from bentos.runtime.canary_record import CanaryRecord
from bentos.runtime.feedback import Feedback, Spool
from bentos.runtime.releases import Releases
from bentos.runtime.samples import Samples
from bentos.runtime.shadow import Shadow
from entityclip.data.pairs import entity_id
from entityclip.paths import ChangesLayout, StateLayout
from entityclip.retrieval.index import Changes
from entityclip.schemas import EntityEntry
from entityclip.storage.sqlite import open_shared

JUDGED = Feedback(
    release="v1.0.0", key="ana", verdict="right", entity_id="e", entity="青いポンプ", picture=b"a picture"
)


@pytest.fixture(autouse=True)
def everything_is_open_by_default() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    found = [path for path in (folder, *folder.rglob("*")) if path.suffix != ".lock"]
    return [f"{path.name} {stat.filemode(path.stat().st_mode)}" for path in found if path.stat().st_mode & 0o077]


def use(state: StateLayout) -> list[Changes]:
    """Every file of a state folder, written once more; databases that stay open keep their logs."""
    Spool(state.feedback).put(JUDGED)
    Samples(state.samples).write({"release": "v1.0.0", "script": "Han"})
    Shadow(state.shadow)._write({"same_first": True})
    CanaryRecord(state.canaries).add("a canary", {"answered": 1})
    keys.make(state.keys, name="shop", scopes=("query",), per_minute=60, max_concurrency=1)
    changes = Changes(ChangesLayout(state.entities), fingerprint="m")
    entry = EntityEntry(entity="青いポンプ")
    changes.put(entity_id("x"), entry, pictures=[b"a picture"], keep_pictures=True, vectors={})
    active_release.write(state, active_release.Live(champion=Path("/package")))
    return [changes]


def test_state_of_a_service_is_closed_to_other_accounts(tmp_path: Path) -> None:
    state = StateLayout(tmp_path / "srv" / "state")
    held = use(state)
    assert {"entities.sqlite-wal", "entities.sqlite-shm"} <= {path.name for path in state.entities.iterdir()}
    assert open_to_others(state.root) == []
    del held


def test_state_that_was_open_before_is_closed_when_it_is_used(tmp_path: Path) -> None:
    state = StateLayout(tmp_path / "state")
    held = use(state)
    for path in [state.root, *state.root.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    assert len(open_to_others(state.root)) > 8
    use(state)
    assert open_to_others(state.root) == []
    del held


def test_service_closes_its_state_folder_when_it_starts(package, tmp_path: Path) -> None:
    state = StateLayout(tmp_path / "state")
    state.root.mkdir(mode=0o777)
    Releases(package.root, state=state, decoders=1)
    assert open_to_others(state.root) == []


def test_folder_that_every_account_writes_into_stays_open(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with closing(open_shared(tmp_path / "x.sqlite", wait_seconds=1, prepare=lambda _: None)):
        Spool(tmp_path / "feedback.sqlite").put(JUDGED)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777
    assert [name for name in open_to_others(tmp_path) if "sqlite" in name] == []


def test_database_that_two_connections_open_keeps_its_locks(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"

    def prepare(connection) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS t (x INTEGER)")

    with closing(open_shared(path, wait_seconds=1, prepare=prepare, isolation_level=None)) as first:
        first.execute("BEGIN IMMEDIATE")
        with closing(open_shared(path, wait_seconds=0.1, prepare=lambda _: None, isolation_level=None)) as second:
            with pytest.raises(Exception, match="locked"):
                second.execute("BEGIN IMMEDIATE")
            first.execute("COMMIT")
            second.execute("BEGIN IMMEDIATE")
