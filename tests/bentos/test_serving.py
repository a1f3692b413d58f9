"""The service as it runs: two workers, a state folder, keys, and everything that changes while it answers."""

import io
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from printed import card_of, needs_reader, png
from tiny import tiny_picture

from bentos.build.smoke_test import serving
from bentos.client import Client, ServiceError
from bentos.middleware import keys
from bentos.runtime import active_release, canary, followers
from bentos.runtime.canary_record import CanaryRecord
from bentos.runtime.feedback import Spool
from entityclip.paths import StateLayout
from entityclip.schemas import EntityEntry

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def jpeg(colour: str, number: int = 1) -> bytes:
    file = io.BytesIO()
    tiny_picture(colour, number).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def state(tmp_path_factory) -> StateLayout:
    return StateLayout(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def key(state) -> str:
    scopes = ("query", "feedback", "entities", "metrics")
    return keys.make(state.keys, name="all", scopes=scopes, per_minute=1_000_000, max_concurrency=1000)


@pytest.fixture(scope="module")
def url(store_home: Path, state, key) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ENTITYCLIP_WORKERS", "2")
        environment.setenv("ENTITYCLIP_READ_SECONDS", "25")
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):  # nothing outside can be reached
            environment.setenv(name, "http://127.0.0.1:9")
        environment.setenv("NO_PROXY", "localhost,127.0.0.1")
        with serving("bentos.service:EntityClip", store=store_home, state=state.root) as url:
            yield url


@pytest.fixture
def service(url, key) -> Iterator[Client]:
    with Client(url, key=key) as client:
        yield client


def test_requests_without_a_key_are_refused_and_a_new_key_needs_no_restart(url, state):
    with pytest.raises(ServiceError, match="401"):
        Client(url).about()
    made = keys.make(state.keys, name="new")
    time.sleep(keys.LOOK_SECONDS + 0.2)
    assert all(Client(url, key=made).about().model.entities for _ in range(10))
    with pytest.raises(ServiceError, match="403: this key has no scope 'entities'"):
        Client(url, key=made).put(EntityEntry(entity="KX-9"))
    keys.revoke(state.keys, made.split("_")[1])
    time.sleep(keys.LOOK_SECONDS + 0.2)
    with pytest.raises(ServiceError, match="401"):
        Client(url, key=made).about()


def test_entity_that_was_added_is_found_by_the_next_request_in_every_worker(url, key, service):
    entity_id = service.put(EntityEntry(entity="ZZ-900", aliases=("新しいやかん",)), [jpeg("pink", 4)])
    for _ in range(10):  # a connection of its own each time, so that both workers are met
        with Client(url, key=key) as other:
            assert other.search("新しいやかん", k=1, target="entities").hits[0].entity_id == entity_id
    service.remove(entity_id)
    for _ in range(10):
        with Client(url, key=key) as other:
            assert entity_id not in {hit.entity_id for hit in other.search("ZZ-900", target="entities").hits}


def test_entity_with_a_meaningless_name_is_tagged_by_its_pictures_in_the_next_request(url, key, service):
    entity_id = service.put(EntityEntry(entity="QQ-77"), [jpeg("pink", 1), jpeg("pink", 2)])
    for _ in range(4):
        with Client(url, key=key) as other:
            tag = other.tag(jpeg("pink", 3), k=1).tags[0]
            assert tag.entity_id == entity_id
            assert tag.why[0].by == "photograph"
            assert other.tag([jpeg("pink", 3), jpeg("pink", 4)], k=1).tags[0].entity_id == entity_id
    service.put(EntityEntry(entity="QQ-77"), [jpeg("cyan", 1)], entity_id=entity_id, keep_pictures=False)
    with Client(url, key=key) as other:
        assert other.tag(jpeg("pink", 3), k=1).tags[0].entity_id != entity_id
        assert other.tag(jpeg("cyan", 2), k=1).tags[0].entity_id == entity_id
    service.remove(entity_id)
    with Client(url, key=key) as other:
        assert other.tag(jpeg("cyan", 2), k=1).tags[0].entity_id != entity_id


@needs_reader
def test_a_label_is_read_by_every_worker_and_only_on_request(url, key, service):
    entity_id = service.put(EntityEntry(entity="QX-204B", aliases=("オーロラカップ",), language="ja"))
    cards = {line: png(card_of(line, pixels=48)) for line in ("QX-204B", "オーロラカップ", "ZZ-777Y")}
    for _ in range(3):
        for line, card in cards.items():
            with Client(url, key=key) as other:  # a connection of its own, so that both workers are met
                answer = other.tag(card, read=True)
            assert (answer.reading.outcome, [label.text for label in answer.reading.labels]) == ("read", [line])
            labels = [(tag.entity_id, why.by) for tag in answer.tags for why in tag.why if why.box]
            assert labels == ([] if line == "ZZ-777Y" else [(entity_id, "label")])
            assert not labels or answer.tags[0].entity_id == entity_id
    assert service.tag(cards["QX-204B"]).reading is None
    service.remove(entity_id)


def test_feedback_is_kept_once_with_who_sent_it_and_without_metadata(service, state, key):
    answer = service.tag(jpeg("red"))
    comment = b"\xff\xfe\0\x13hanako@example.jp"
    judged = {"entity_id": answer.tags[0].entity_id, "image": jpeg("red")[:2] + comment + jpeg("red")[2:]}
    assert service.feedback(answer, "wrong", **judged) == service.feedback(answer, "wrong", **judged)
    ((_, kept),) = Spool(state.feedback).read()
    assert (kept.key, kept.verdict, kept.entity) == (key.split("_")[1], "wrong", answer.tags[0].entity)
    assert kept.picture == jpeg("red")
    with pytest.raises(ServiceError, match="is unknown in release"):
        service.feedback(answer, "right", entity_id="nobody", text="kettle")


def test_switch_and_rollback_fail_no_request(url, key, state, other_package):
    seen: list[str] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                with Client(url, key=key, tries=1) as client:
                    seen.append(client.tag(jpeg("red")).release)
            except ServiceError as error:
                failures.append(error)

    def until_all_say(version: str) -> None:
        end = time.monotonic() + 120
        while len(seen) < 10 or set(seen[-10:]) != {version}:
            assert time.monotonic() < end
            time.sleep(0.1)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    active_release.switch(state, other_package)
    until_all_say("v1.1.0")
    active_release.rollback(state)
    until_all_say("v1.0.0")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert set(seen) == {"v1.0.0", "v1.1.0"}


def test_canary_of_a_release_that_knows_nothing_is_rolled_back_without_a_failed_request(
    url, state, package, other_package
):
    followers.carry_out(state, lambda: active_release.switch(state, package.root))
    made = {
        key.split("_")[1]: key for key in (keys.make(state.keys, name="caller", per_minute=10**6) for _ in range(4))
    }
    time.sleep(keys.LOOK_SECONDS + 0.2)
    usual = {"duration": timedelta(hours=1), "min_requests": 1}
    report, workers = canary.start(state, other_package, callers=list(made), share=0.5, **usual)
    assert workers == 2
    for caller, key in made.items():  # a new connection may come to the other worker
        versions = {Client(url, key=key).search("KX-RED").release for _ in range(4)}
        assert versions == {"v1.1.0" if caller in report.callers else "v1.0.0"}
    record, caller = CanaryRecord(state.canaries), made[report.callers[0]]
    with Client(url, key=caller) as service:
        for _ in range(200):
            service.tag(jpeg("red"))
            if record.read().outcome is not None:
                break
        until = time.monotonic() + 60
        while service.search("KX-RED").release != "v1.0.0":
            assert time.monotonic() < until
    assert (record.read().outcome, record.read().reason.partition(":")[0]) == ("rolled back", "unknown")
    assert active_release.read(state) == active_release.Live(champion=package.root)


def test_metrics_of_all_workers_are_counted_together(url, key, service):
    def counted() -> float:
        text = httpx.get(f"{url}/metrics", headers={"authorization": f"Bearer {key}"}).text
        return sum(map(float, re.findall(r"entityclip_tagged_total\{.*\} (\S+)", text)))

    before = counted()
    for _ in range(8):
        service.tag(jpeg("blue"))
    assert counted() - before == 8


def test_dashboard_queries_metrics_that_exist(url, key, service):
    service.tag(jpeg("red"))
    there = httpx.get(f"{url}/metrics", headers={"authorization": f"Bearer {key}"}).text
    names = set(re.findall(r"(?:bentoml|entityclip)_\w+", (REPOSITORY / "deploy/grafana/service.json").read_text()))
    assert len(names) >= 6
    names.discard("entityclip_shadowed_total")  # comes with the first shadowed request
    for name in names:
        assert re.search(rf"^{name}\{{", there, re.M), name


def test_the_processes_that_build_a_bento_and_start_workers_do_not_load_pytorch(store_home: Path):
    code = "import sys, bentos.service; sys.exit(' '.join({'torch', 'open_clip', 'sklearn'} & sys.modules.keys()) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
