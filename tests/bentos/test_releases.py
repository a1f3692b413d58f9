"""Releases that come and go while requests are answered: switch, rollback, shadow, and what must not disturb them."""

import json
import shutil
import threading
import time
from collections.abc import Callable

import pytest
from tiny import tiny_picture

from bentos.running import live, releases
from bentos.running.releases import Releases
from entityclip.errors import ConfigError, DataError
from entityclip.layout import PackageLayout, StateLayout


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
    release, found = running.ask(lambda asked: asked.predictor.tag(tiny_picture("red", 1), k=6))
    return release.version, [tag.score for tag in found]


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
    live.switch(state, other_package)
    until(lambda: "v1.1.0" in scores)
    began = running.champion
    live.rollback(state)
    until(lambda: running.champion.version == "v1.0.0")
    live.switch(state, other_package)
    until(lambda: running.champion.version == "v1.1.0")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert scores.keys() == {"v1.0.0", "v1.1.0"}
    assert scores["v1.0.0"] != scores["v1.1.0"]
    assert running.champion is began  # rolled back and forth in memory: nothing was loaded again


def test_decision_outlives_a_restart(running, package, state, other_package):
    live.switch(state, other_package)
    again = Releases(package.root, state=state, decoders=1)
    assert again.champion.version == "v1.1.0"
    assert live.rollback(state) is None
    until(lambda: again.champion.version == "v1.0.0")
    with pytest.raises(ConfigError, match="nothing to take back"):
        live.rollback(state)


def test_release_beside_the_champion_may_be_gone(package, state, other_package, tmp_path, caplog):
    live.Live(champion=other_package, previous=tmp_path / "gone", challenger=tmp_path / "gone").write(state.live)
    assert tags(Releases(package.root, state=state, decoders=1))[0] == "v1.1.0"
    assert "only the champion answers" in caplog.text


def test_what_is_no_package_is_never_put_live(tmp_path, state, other_package):
    with pytest.raises(ConfigError, match=r"no release\.json"):
        live.switch(state, tmp_path)
    shutil.copytree(other_package, tmp_path / "half")
    PackageLayout(tmp_path / "half").checkpoint.weights.write_bytes(b"half")
    with pytest.raises(DataError, match="is not the file of the manifest"):
        live.switch(state, tmp_path / "half")
    assert not state.live.exists()


def test_release_that_cannot_be_loaded_changes_nothing(running, state, tmp_path, other_package, caplog):
    shutil.copytree(other_package, tmp_path / "package")
    live.switch(state, tmp_path / "package")
    state.live.unlink()
    PackageLayout(tmp_path / "package").entities.card.unlink()
    live.Live(champion=tmp_path / "package").write(state.live)
    until(lambda: "v1.0.0 still answers" in caplog.text)
    assert tags(running)[0] == "v1.0.0"
    state.live.write_text("{}")
    until(lambda: "does not say which release answers" in caplog.text)
    assert tags(running)[0] == "v1.0.0"


DAMAGED = {"empty": "", "half": "{", "list": "[]", "number": '{"champion": 3}', "zeros": "\0" * 100}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)
def test_damaged_decision_keeps_no_service_down_and_is_replaced_by_the_next_one(
    package, state, other_package, caplog, damaged
):
    live.switch(state, other_package)
    state.live.write_text(damaged)
    started = Releases(package.root, state=state, decoders=1)
    assert tags(started)[0] == "v1.0.0"
    assert f"{state.live}: empty or damaged" in caplog.text
    with pytest.raises(ConfigError, match=r"live switch PACKAGE"):
        live.rollback(state)
    live.switch(state, other_package)
    until(lambda: started.champion.version == "v1.1.0")


def test_shadow_is_recorded_and_reaches_no_caller(running, package, state, other_package):
    live.shadow(state, package.root, challenger=other_package, share=1.0)
    until(lambda: running._roles.challenger is not None)
    assert tags(running)[0] == "v1.0.0"
    until(lambda: state.shadow.exists() and state.shadow.read_text().endswith("\n"))
    (compared,) = map(json.loads, state.shadow.read_text().splitlines())
    assert (compared["champion"], compared["challenger"]) == ("v1.0.0", "v1.1.0")
    assert (compared["shared"], compared["of"]) == (6, 6)
    with pytest.raises(ConfigError, match="expected above 0, at most 1"):
        live.shadow(state, package.root, challenger=other_package, share=0.0)


def test_shadow_that_fails_is_noticed_by_nobody_else(running, package, state, other_package, caplog):
    live.shadow(state, package.root, challenger=other_package, share=1.0)
    until(lambda: running._roles.challenger is not None)

    def question(asked):
        assert asked.version == "v1.0.0", "the challenger breaks"
        return asked.predictor.tag(tiny_picture("red", 1))

    assert running.ask(question)[0].version == "v1.0.0"
    until(lambda: "could not answer" in caplog.text)
    assert tags(running)[0] == "v1.0.0"
