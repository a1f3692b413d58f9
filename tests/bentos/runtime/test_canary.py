"""A canary: who gets the challenger, what ends it, and that no request fails because of it."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tiny import tiny_picture

from bentos.runtime import active_release, canary, canary_worker, followers, releases
from bentos.runtime.canary_record import CanaryRecord, CanaryReport
from bentos.runtime.feedback import Feedback
from bentos.runtime.releases import Releases
from entityclip.data import resources
from entityclip.errors import ConfigError, DataError, SwitchError
from entityclip.paths import StateLayout

CALLERS = [f"key{number}" for number in range(8)]


@pytest.fixture
def state(tmp_path, monkeypatch) -> StateLayout:
    for module in (releases, followers):
        monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(releases, "RETRY_SECONDS", 0.02)
    return StateLayout(tmp_path / "state")


@pytest.fixture
def running(package, state) -> Releases:
    active_release.Live(champion=package.root).write(state.live)
    return Releases(package.root, state=state, decoders=1)


def begin(state: StateLayout, challenger: Any, **options: Any) -> CanaryReport:
    """A canary that takes half of the callers for an hour."""
    usual = {"callers": CALLERS, "share": 0.5, "duration": timedelta(hours=1), "min_requests": 10}
    return canary.start(state, challenger, **(usual | options))[0]


def last(state: StateLayout) -> CanaryReport:
    report = CanaryRecord(state.canaries).read()
    assert report is not None
    return report


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def found(release: Any) -> list:
    return release.predictor.search("KX-RED", target="entities", k=3)


def answered_by(running: Releases, caller: str, query: Callable[[Any], list] = found) -> str:
    """Version of the release that answers; the query must not fail."""
    return running.query(query, caller=caller)[0].version


def until_rolled_back(running: Releases, state: StateLayout, query: Callable[[Any], list]) -> CanaryReport:
    """Send requests of a caller in the share until the canary has ended."""
    caller, sent = last(state).callers[0], 0
    while last(state).outcome is None:
        assert (sent := sent + 1) < 200
        answered_by(running, caller, query)
    until(lambda: running._roles.challenger is None)
    report = last(state)
    assert report.outcome == "rolled back"
    assert {answered_by(running, each, query) for each in CALLERS} == {"v1.0.0"}
    assert active_release.read(state).canary is None
    return report


# ---------------------------------------------------------------- while it runs
def test_the_same_callers_get_the_challenger_in_every_worker_until_an_operator_stops_it(
    running, package, state, other_package
):
    other = Releases(package.root, state=state, decoders=1)
    report = begin(state, other_package)
    assert len(report.callers) == 4
    expected = {caller: "v1.1.0" if caller in report.callers else "v1.0.0" for caller in CALLERS}
    for worker in (running, other, running):
        assert {caller: answered_by(worker, caller) for caller in CALLERS} == expected
    assert answered_by(Releases(package.root, state=state, decoders=1), report.callers[0]) == "v1.1.0"  # restarted
    with pytest.raises(ConfigError, match=r"a canary of .* runs until .*--stop"):
        begin(state, other_package)
    until(lambda: last(state).answered == 13)
    assert canary.stop(state).outcome == "stopped"
    until(lambda: {answered_by(worker, caller) for worker in (running, other) for caller in CALLERS} == {"v1.0.0"})
    with pytest.raises(ConfigError, match="no canary runs"):
        canary.stop(state)


def test_errors_of_the_challenger_reach_no_caller_and_end_the_canary(running, state, other_package):
    def query(release: Any) -> list:
        if release.version == "v1.1.0":
            raise RuntimeError("broken")
        return found(release)

    begin(state, other_package)
    report = until_rolled_back(running, state, query)
    assert report.reason.startswith("errors: ")
    assert report.failed >= 9
    assert report.answered == 0


def test_requests_at_fault_count_for_neither_release(running, state, other_package):
    def query(release: Any) -> list:
        raise ConfigError("the request is at fault")

    caller = begin(state, other_package).callers[0]
    for _ in range(20):
        with pytest.raises(ConfigError, match="at fault"):
            answered_by(running, caller, query)
    answered_by(running, caller)
    until(lambda: last(state).compared == 1)
    assert (last(state).failed, last(state).outcome) == (0, None)


def test_a_challenger_that_hangs_is_not_waited_for(running, state, other_package, monkeypatch):
    monkeypatch.setattr(canary_worker, "DEADLINE_SECONDS", 0.02)
    let_go = threading.Event()

    def query(release: Any) -> list:
        if release.version == "v1.1.0":
            let_go.wait(60)
        return found(release)

    begin(state, other_package)
    try:
        assert until_rolled_back(running, state, query).reason.startswith("errors: ")
    finally:
        let_go.set()


def test_a_challenger_that_knows_nothing_is_rolled_back(running, state, other_package):
    def query(release: Any) -> list:
        tags = release.predictor.tag(tiny_picture("red", 1), k=2)
        return [tag.model_copy(update={"above_threshold": release.version == "v1.0.0"}) for tag in tags]

    begin(state, other_package)
    assert until_rolled_back(running, state, query).reason.startswith("unknown: ")


def test_a_slow_challenger_is_rolled_back(running, state, other_package):
    def query(release: Any) -> list:
        time.sleep(0.05 if release.version == "v1.1.0" else 0)
        return []

    begin(state, other_package)
    assert until_rolled_back(running, state, query).reason.startswith("latency: ")


def test_requests_that_are_not_compared_under_load_count_for_neither_release(running, state, other_package):
    running.canary._places = threading.BoundedSemaphore(1)
    let_go, broken = threading.Event(), False

    def query(release: Any) -> list:
        if release.version == "v1.1.0" and broken:
            raise RuntimeError("broken")
        if threading.current_thread().name == "canary":  # the comparison
            let_go.wait(60)
        return found(release)

    caller = begin(state, other_package).callers[0]
    try:
        assert answered_by(running, caller, query) == "v1.1.0"
        broken = True
        assert {answered_by(running, caller, query) for _ in range(20)} == {"v1.0.0"}
    finally:
        let_go.set()
    until(lambda: last(state).failed == 20)
    report = last(state)
    assert (report.answered, report.dropped, report.compared, report.outcome) == (1, 20, 1, None)


def judge(running: Releases, release: str, verdict: str, *, key: str, text: str) -> None:
    judged = {"release": release, "verdict": verdict, "entity_id": "e", "entity": "E", "text": text}
    running.judged(Feedback(key=key, **judged))


def test_judgements_against_the_challenger_end_the_canary(running, state, other_package):
    callers = begin(state, other_package).callers
    for number in range(60):
        judge(running, "v1.0.0", "right", key=f"shop{number % 5}", text=str(number))
        judge(running, "v1.1.0", "wrong", key=callers[number % 4], text=str(number))
    until(lambda: last(state).outcome is not None)
    assert last(state).reason.startswith("feedback: ")
    assert last(state).reason.endswith("(judgements of different callers: reported, not proved)")


def test_callers_outside_the_share_do_not_judge_the_challenger(running, state, other_package):
    others = sorted(set(CALLERS) - set(begin(state, other_package).callers))
    for number in range(60):
        judge(running, "v1.0.0", "right", key=f"shop{number % 5}", text=str(number))
        judge(running, "v1.1.0", "wrong", key=others[number % 4], text=str(number))
    until(lambda: running.canary._waiting.empty())
    assert (last(state).outcome, last(state).comparisons["feedback"].total) == (None, 0)


def test_one_caller_decides_nothing(running, state, other_package):
    one, another, *_ = begin(state, other_package).callers
    for number in range(60):
        judge(running, "v1.1.0", "wrong", key=one, text=str(number))
        judge(running, "v1.0.0", "right", key=f"shop{number % 5}", text=str(number))
    until(lambda: running.canary._waiting.empty())
    assert last(state).outcome is None
    judge(running, "v1.1.0", "wrong", key=another, text="another")
    until(lambda: last(state).outcome == "rolled back")


@pytest.mark.parametrize(("keys", "share", "expected"), [(2, 0.05, 1), (3, 0.5, 1), (20, 0.2, 4), (100, 0.29, 29)])
def test_share_is_at_most_what_was_requested_and_later_keys_get_it_by_chance(keys, share, expected):
    chosen, others = canary._share_of("1", [f"key{number}" for number in range(keys)], share)
    assert (len(chosen), len(others)) == (expected, keys - expected)
    end = datetime.now(UTC) + timedelta(hours=1)
    plan = active_release.Canary(id="1", callers=chosen, others=others, share=share, until=end, min_requests=1)
    assert all(map(plan.includes, chosen))
    assert not any(map(plan.includes, others))
    later = sum(plan.includes(f"later{number}") for number in range(2000)) / 2000
    assert later == pytest.approx(share, abs=0.03)


# ---------------------------------------------------------------- its end
def test_after_its_time_a_challenger_without_harm_is_activated(running, state, package, other_package):
    caller = begin(state, other_package, min_requests=10).callers[0]
    for number in range(10):
        answered_by(running, caller)
        until(lambda number=number: last(state).compared > number)
    canary.conclude(state, active_release.read(state).canary)
    report = last(state)
    assert (report.outcome, report.reason) == (
        "activated",
        "no harm was shown in 10 compared requests and 0 pairs of judgements",
    )
    until(lambda: running.champion.version == "v1.1.0")
    assert active_release.read(state) == active_release.Live(champion=other_package, previous=package.root)


def test_after_its_time_too_few_requests_activate_nothing(running, state, package, other_package):
    begin(state, other_package, duration=timedelta(seconds=0))
    until(lambda: last(state).outcome is not None)
    assert last(state).reason == "too few requests: 0 were compared, and an activation needs 10"
    until(lambda: active_release.read(state) == active_release.Live(champion=package.root))


def test_another_decision_ends_it(running, state, package, other_package):
    begin(state, other_package)
    active_release.switch(state, package.root)
    until(lambda: last(state).outcome == "replaced")
    until(lambda: {answered_by(running, caller) for caller in CALLERS} == {"v1.0.0"})


def loading(monkeypatch: pytest.MonkeyPatch, package: Any, happens: Callable[[], None]) -> None:
    """From now on, ``happens`` is called before this package is loaded."""
    load = releases.LoadedRelease.load

    def first(folder: Any, **options: Any) -> Any:
        if folder == package:
            happens()
        return load(folder, **options)

    monkeypatch.setattr(releases.LoadedRelease, "load", first)


def ends() -> None:
    raise SystemExit("out of memory")


def test_a_challenger_that_ends_workers_while_it_is_loaded_ends(running, state, package, other_package, monkeypatch):
    begin(state, other_package)
    loading(monkeypatch, other_package, ends)
    for _ in range(3):
        with pytest.raises(SystemExit):
            Releases(package.root, state=state, decoders=1)
    assert last(state).outcome is None
    assert Releases(package.root, state=state, decoders=1).champion.version == "v1.0.0"
    assert last(state).reason.startswith("workers started 4 times while it ran")
    assert active_release.read(state) == active_release.Live(champion=package.root)


def test_a_canary_whose_time_is_over_is_not_loaded_by_a_worker_that_starts(package, state, other_package, monkeypatch):
    share = {"callers": frozenset({"a"}), "others": frozenset({"b"}), "share": 0.5}
    plan = active_release.Canary(id="1", until=datetime.now(UTC), min_requests=1, **share)
    live = active_release.Live(champion=package.root, challenger=other_package, canary=plan)
    live.write(state.live)
    loading(monkeypatch, other_package, ends)
    assert Releases(package.root, state=state, decoders=1).champion.version == "v1.0.0"
    assert active_release.read(state) == active_release.Live(champion=package.root)


def test_an_end_and_an_operator_do_not_overwrite_each_other(package, state, other_package, monkeypatch):
    share = {"callers": frozenset({"a"}), "others": frozenset({"b"}), "share": 0.5}
    plan = active_release.Canary(id="1", until=datetime.now(UTC) + timedelta(hours=1), min_requests=1, **share)
    live = active_release.Live(champion=package.root, challenger=other_package, canary=plan)
    live.write(state.live)
    operator = threading.Thread(target=lambda: active_release.switch(state, other_package))
    read = active_release.read

    def then_switch(state: StateLayout) -> Any:
        found = read(state)
        if threading.current_thread() is threading.main_thread() and operator.ident is None:
            operator.start()
            operator.join(0.5)
        return found

    monkeypatch.setattr(active_release, "read", then_switch)
    canary.end(state, "1", "stopped", "an operator stopped it")
    operator.join()
    assert read(state) == active_release.Live(champion=other_package, previous=package.root)


def test_without_its_record_it_is_rolled_back(running, state, package, other_package):
    caller = begin(state, other_package).callers[0]
    state.canaries.write_bytes(b"no database" * 100)
    until(lambda: answered_by(running, caller) == "v1.0.0")
    until(lambda: active_release.read(state) == active_release.Live(champion=package.root))
    with pytest.raises(DataError, match="record of canaries cannot be used"):
        last(state)


# ---------------------------------------------------------------- refusals
def test_a_challenger_that_cannot_be_loaded_gets_no_caller(running, state, package, other_package, monkeypatch):
    before = active_release.read(state)

    def fail() -> None:
        raise ConfigError("onnx-int8 does not ship")

    loading(monkeypatch, other_package, fail)
    with pytest.raises(SwitchError, match=r"onnx-int8 does not ship.*the previous release stays active"):
        begin(state, other_package)
    assert CanaryRecord(state.canaries).read() is None
    assert active_release.read(state) == before
    share = {"callers": frozenset(CALLERS), "others": frozenset(), "share": 0.5}
    plan = active_release.Canary(id="1", until=datetime.now(UTC) + timedelta(hours=1), min_requests=1, **share)
    active_release.write(state, before.model_copy(update={"challenger": other_package, "canary": plan}))
    until(lambda: active_release.read(state).canary is None)
    assert {answered_by(running, caller) for caller in CALLERS} == {"v1.0.0"}


def test_a_challenger_with_which_a_worker_ends_gets_no_caller(running, state, other_package, monkeypatch):
    before = active_release.read(state)
    loading(monkeypatch, other_package, lambda: running._status._lock.close())  # as when the process ends
    with pytest.raises(SwitchError, match="1 of 1 workers ended while they loaded"):
        begin(state, other_package)
    assert active_release.read(state) == before


@pytest.mark.parametrize("step", [1, 2])
def test_an_interrupted_command_leaves_nothing_behind(running, state, other_package, monkeypatch, step):
    before, waits, wait = active_release.read(state), [], followers._wait

    def interrupted(*arguments: Any, **options: Any) -> int:
        waits.append(1)
        if len(waits) == step:
            raise KeyboardInterrupt
        return wait(*arguments, **options)

    monkeypatch.setattr(followers, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        begin(state, other_package)
    assert active_release.read(state) == before
    report = CanaryRecord(state.canaries).read()
    assert (report and report.reason) == (None if step == 1 else "the command that began it was interrupted")


def test_a_decision_while_it_begins_stands(running, state, package, other_package, monkeypatch):
    record_begin = CanaryRecord.begin

    def begin_then_shadow(record: CanaryRecord, report: CanaryReport) -> None:
        record_begin(record, report)
        active_release.shadow(state, package.root, challenger=other_package, share=0.1)

    monkeypatch.setattr(CanaryRecord, "begin", begin_then_shadow)
    with pytest.raises(SwitchError, match="another decision was made while the canary began"):
        begin(state, other_package)
    assert active_release.read(state).share == 0.1
    assert last(state).outcome == "replaced"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"share": 0.6}, "share is 0.6; expected above 0 and at most 0.5"),
        ({"callers": ["one"]}, "1 keys may query.*entityclip keys create"),
    ],
)
def test_a_share_that_is_none_is_refused(running, state, other_package, options, reason):
    before = active_release.read(state)
    with pytest.raises(ConfigError, match=reason):
        begin(state, other_package, **options)
    assert active_release.read(state) == before


def test_what_cannot_be_compared_or_held_is_refused(running, state, package, other_package, monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match=r"v1\.0\.0 is in service already"):
        begin(state, package.root)
    monkeypatch.setattr(resources, "available_memory", lambda: 0)
    with pytest.raises(ConfigError, match=r"needs about 1 x \d+ MiB of memory \(1 workers\), and 0 MiB are available"):
        begin(state, other_package)
    empty = StateLayout(tmp_path / "empty")
    with pytest.raises(ConfigError, match="no release was activated"):
        begin(empty, other_package)
    active_release.switch(empty, package.root)
    with pytest.raises(ConfigError, match="no service runs on this state folder"):
        begin(empty, other_package)
