"""Releases that come and go while requests are answered: switch, rollback, shadow, and what must not disturb them."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY
from tiny import tiny_picture

from bentos.runtime import active_release, followers, releases
from bentos.runtime.releases import Releases
from entityclip.errors import ConfigError, DataError, SwitchError
from entityclip.paths import PackageLayout, StateLayout


@pytest.fixture
def state(tmp_path, monkeypatch) -> StateLayout:
    monkeypatch.setattr(releases, "LOOK_SECONDS", 0.02)
    return StateLayout(tmp_path / "state")


@pytest.fixture
def running(package, state) -> Releases:
    return Releases(package.root, state=state, decoders=1)


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def tags(running: Releases) -> tuple[str, list[float]]:
    release, found = running.query(lambda loaded: loaded.predictor.tag(tiny_picture("red", 1), k=6))
    return release.version, [tag.score for tag in found]


@pytest.mark.slow
def test_switch_and_rollback_under_load_fail_no_request(running, state, other_package):
    scores: dict[str, list[float]] = {}
    failures, stop = [], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                version, found = tags(running)
                assert scores.setdefault(version, found) == pytest.approx(found, abs=1e-5)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    active_release.switch(state, other_package)
    until(lambda: "v1.1.0" in scores)
    began = running.champion
    active_release.rollback(state)
    until(lambda: running.champion.version == "v1.0.0")
    active_release.switch(state, other_package)
    until(lambda: running.champion.version == "v1.1.0")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert scores.keys() == {"v1.0.0", "v1.1.0"}
    assert scores["v1.0.0"] != scores["v1.1.0"]
    assert running.champion is began  # rolled back and forth in memory: nothing was loaded again


def test_decision_outlives_a_restart(running, package, state, other_package):
    active_release.switch(state, other_package)
    again = Releases(package.root, state=state, decoders=1)
    assert again.champion.version == "v1.1.0"
    assert active_release.rollback(state) is None
    until(lambda: again.champion.version == "v1.0.0")
    with pytest.raises(ConfigError, match="no decision to roll back"):
        active_release.rollback(state)


def test_release_beside_the_champion_may_be_gone(package, state, other_package, tmp_path, caplog):
    active_release.Live(champion=other_package, previous=tmp_path / "gone", challenger=tmp_path / "gone").write(
        state.live
    )
    assert tags(Releases(package.root, state=state, decoders=1))[0] == "v1.1.0"
    assert "serving the champion only" in caplog.text


def test_what_is_no_package_is_never_put_live(tmp_path, state, other_package):
    with pytest.raises(ConfigError, match=r"no release\.json"):
        active_release.switch(state, tmp_path)
    shutil.copytree(other_package, tmp_path / "half")
    PackageLayout(tmp_path / "half").checkpoint.weights.write_bytes(b"half")
    with pytest.raises(DataError, match="differs from the manifest"):
        active_release.switch(state, tmp_path / "half")
    assert not state.live.exists()


def test_release_that_cannot_be_loaded_changes_nothing(running, state, tmp_path, other_package, caplog):
    shutil.copytree(other_package, tmp_path / "package")
    active_release.switch(state, tmp_path / "package")
    state.live.unlink()
    PackageLayout(tmp_path / "package").entities.card.unlink()
    active_release.Live(champion=tmp_path / "package").write(state.live)
    until(lambda: "still serving v1.0.0" in caplog.text)
    assert tags(running)[0] == "v1.0.0"
    state.live.write_text("{}")
    until(lambda: "so the active release is unknown" in caplog.text)
    assert tags(running)[0] == "v1.0.0"


DAMAGED = {"empty": "", "half": "{", "list": "[]", "number": '{"champion": 3}', "zeros": "\0" * 100}


@pytest.mark.slow
@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)
def test_damaged_decision_keeps_no_service_down_and_is_replaced_by_the_next_one(
    package, state, other_package, caplog, damaged
):
    active_release.switch(state, other_package)
    state.live.write_text(damaged)
    started = Releases(package.root, state=state, decoders=1)
    assert tags(started)[0] == "v1.0.0"
    assert f"{state.live}: empty or damaged" in caplog.text
    with pytest.raises(ConfigError, match=r"release activate PACKAGE"):
        active_release.rollback(state)
    active_release.switch(state, other_package)
    until(lambda: started.champion.version == "v1.1.0")


def test_shadow_is_recorded_and_reaches_no_caller(running, package, state, other_package):
    active_release.shadow(state, package.root, challenger=other_package, share=1.0)
    until(lambda: running._roles.challenger is not None)
    assert tags(running)[0] == "v1.0.0"
    until(lambda: state.shadow.exists() and state.shadow.read_text().endswith("\n"))
    (compared,) = map(json.loads, state.shadow.read_text().splitlines())
    assert (compared["champion"], compared["challenger"]) == ("v1.0.0", "v1.1.0")
    assert (compared["shared"], compared["of"]) == (6, 6)
    with pytest.raises(ConfigError, match="expected above 0 and at most 1"):
        active_release.shadow(state, package.root, challenger=other_package, share=0.0)


def test_shadow_that_fails_changes_no_answer(running, package, state, other_package, caplog):
    active_release.shadow(state, package.root, challenger=other_package, share=1.0)
    until(lambda: running._roles.challenger is not None)

    def question(release):
        assert release.version == "v1.0.0", "the challenger breaks"
        return release.predictor.tag(tiny_picture("red", 1))

    assert running.query(question)[0].version == "v1.0.0"
    until(lambda: "the shadowing release failed" in caplog.text)
    assert tags(running)[0] == "v1.0.0"


# ---------------------------------------------------------------- what was decided and is not live
@pytest.fixture
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(releases, "RETRY_SECONDS", 0.05)


@pytest.fixture
def broken(other_package, tmp_path) -> PackageLayout:
    """A copy of v1.1.0 that can be mended: its card of the entities lies beside it."""
    shutil.copytree(other_package, tmp_path / "package")
    package = PackageLayout(tmp_path / "package")
    package.entities.card.rename(tmp_path / "card.json")
    return package


def test_decision_that_failed_is_tried_again_until_it_is_live(running, state, broken, tmp_path, impatient):
    active_release.Live(champion=broken.root).write(state.live)
    until(lambda: running.behind)
    assert tags(running)[0] == "v1.0.0"
    until(lambda: any("index.json' is missing" in worker.failed for worker in followers.living(state).values()))
    assert [worker.release for worker in followers.living(state).values()] == ["v1.0.0"]
    (tmp_path / "card.json").rename(broken.entities.card)
    until(lambda: tags(running)[0] == "v1.1.0")
    until(lambda: not next(iter(followers.living(state).values())).failed)
    assert not running.behind


def test_tries_come_after_twice_the_time_and_at_most_a_minute():
    attempt = releases._Attempt(None)
    waits = []
    for _ in range(9):
        attempt.fail(ConfigError("no"))
        waits.append(round(attempt.again - time.monotonic()))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert not attempt.due()


@pytest.mark.slow
def test_switch_waits_until_every_worker_answers_with_it(package, state, other_package):
    workers = [Releases(package.root, state=state, decoders=1) for _ in range(3)]
    _, count = followers.carry_out(state, lambda: active_release.switch(state, other_package))
    assert (count, {worker.champion.version for worker in workers}) == (3, {"v1.1.0"})


def test_switch_that_a_worker_cannot_follow_fails_with_the_reason_and_is_taken_back(running, state, broken, impatient):
    def decide() -> active_release.Live:  # `switch` without its verification: the package broke after it
        active_release.Live(champion=broken.root).write(state.live)
        return active_release.read(state)

    with pytest.raises(SwitchError, match=r"1 of 1 workers .*index\.json' is missing.*reverted"):
        followers.carry_out(state, decide)
    assert not state.live.exists()
    until(lambda: not running.behind)
    assert tags(running)[0] == "v1.0.0"


def test_decision_that_must_stand_stands_and_the_reason_is_given(running, state, broken, impatient):
    def decide() -> active_release.Live:
        active_release.Live(champion=broken.root).write(state.live)
        return active_release.read(state)

    with pytest.raises(SwitchError, match="the decision stands, and the workers keep retrying"):
        followers.carry_out(state, decide, take_back=False)
    assert active_release.read(state) == active_release.Live(champion=broken.root)


def test_later_decision_ends_the_wait_for_the_earlier_and_is_not_taken_back(state, package, other_package):
    slow = followers.Status(state)
    slow.write(followers.Follower(seen=None, release="v0.9.0"))

    def both() -> None:
        active_release.switch(state, other_package)
        threading.Timer(0.3, lambda: active_release.switch(state, package.root)).start()

    with pytest.raises(SwitchError, match="another decision replaced"):
        followers.carry_out(state, both)
    assert active_release.read(state).champion == package.root.resolve()


def test_switch_without_a_running_service_does_not_wait(state, other_package):
    assert followers.carry_out(state, lambda: active_release.switch(state, other_package))[1] == 0


_WORKER = """
import sys, time
from pathlib import Path
from bentos.runtime.followers import Follower, Status
from entityclip.paths import StateLayout
status = Status(StateLayout(Path(sys.argv[1])))
status.write(Follower(seen=None, release="v1.0.0"))
print("ready", flush=True)
time.sleep(60)
"""


def test_killed_worker_is_not_waited_for_and_leaves_nothing(state, other_package):
    command = [sys.executable, "-c", _WORKER, str(state.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        assert len(followers.living(state)) == 1
        worker.kill()
    assert followers.carry_out(state, lambda: active_release.switch(state, other_package))[1] == 0
    followers.Status(state)
    assert len(list(state.followers.iterdir())) == 1


def test_decided_release_that_cannot_be_loaded_at_the_start_keeps_no_service_down(
    package, state, broken, tmp_path, impatient
):
    active_release.Live(champion=broken.root, previous=tmp_path / "gone").write(state.live)
    running = Releases(package.root, state=state, decoders=1)
    assert (tags(running)[0], running.behind) == ("v1.0.0", True)
    (tmp_path / "card.json").rename(broken.entities.card)
    until(lambda: tags(running)[0] == "v1.1.0")


def test_full_disk_does_not_end_the_thread_that_follows(running, state, other_package, monkeypatch, caplog):
    state.followers.rename(state.followers.with_name("away"))
    state.followers.write_text("no folder")
    active_release.switch(state, other_package)
    until(lambda: "a decision was not applied" in caplog.text)
    state.followers.unlink()
    state.followers.with_name("away").rename(state.followers)
    active_release.rollback(state)
    until(lambda: tags(running)[0] == "v1.0.0")


@pytest.mark.slow
def test_metric_shows_that_the_wanted_release_is_not_live(running, state, broken, tmp_path, impatient):
    def metric() -> float | None:
        return REGISTRY.get_sample_value("entityclip_wanted_not_live")

    until(lambda: metric() == 0)
    active_release.Live(champion=broken.root).write(state.live)
    until(lambda: metric() == 1)
    (tmp_path / "card.json").rename(broken.entities.card)
    until(lambda: metric() == 0)
