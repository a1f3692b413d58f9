"""Rubbish in every form, over HTTP: no request may fail the service, its memory stays, and it answers afterwards."""

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
import rubbish
from callers import bearer

from bentos.build.smoke_test import serving
from bentos.middleware import keys
from entityclip.paths import StateLayout

REQUESTS = int(os.environ.get("ENTITYCLIP_FUZZ", "400"))
AT_ONCE = 4
OVERLOAD = (503, 504)
MOST_GROWTH = 1.15
"""Of their memory, from a third of the requests on: by then everything was loaded once."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(store_home: Path, tmp_path_factory) -> Iterator[httpx.Client]:
    """Two workers with a state folder, and a key with every scope."""
    state = StateLayout(tmp_path_factory.mktemp("state"))
    scopes = ("query", "feedback", "entities", "metrics")
    key = keys.make(state.keys, name="all", scopes=scopes, per_minute=1_000_000, max_concurrency=1000)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ENTITYCLIP_WORKERS", "2")
        with (
            serving("bentos.service:EntityClip", store=store_home, state=state.root) as url,
            httpx.Client(base_url=url, headers=bearer(key), timeout=120) as client,
        ):
            yield client


def server_mib() -> float:
    """Memory of the server and its workers."""
    family = psutil.Process().children(recursive=True)
    return sum(p.memory_info().rss for p in family if "bentoml" in " ".join(p.cmdline())) / 2**20


def test_no_rubbish_fails_the_service(service):
    rng = random.Random(0)
    files, large = list(rubbish.pictures().values()), list(rubbish.bodies().values())
    statuses: Counter[int] = Counter()

    def ask(sent: tuple[str, dict]) -> None:
        path, request = sent
        try:
            answer = service.post(path, **request)
        except httpx.HTTPError as error:
            raise AssertionError((path, str(request)[:2000], repr(error))) from error
        statuses[answer.status_code] += 1
        assert answer.status_code < 500 or answer.status_code in OVERLOAD, (path, str(request)[:2000], answer.text)
        assert answer.status_code < 400 or list(answer.json()) == ["error"], (path, answer.text)
        assert len(answer.content) < 200_000

    def ask_all(count: int) -> float:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for start in range(0, count, 100):  # not all of them in memory
                paths = rng.choices(rubbish.PATHS, k=min(100, count - start))
                list(threads.map(ask, [(path, rubbish.request(rng, path, files, large)) for path in paths]))
        return server_mib()

    warm = ask_all(REQUESTS // 3)
    mib = ask_all(REQUESTS - REQUESTS // 3)
    print(json.dumps({"statuses": dict(sorted(statuses.items())), "warm_mib": round(warm), "mib": round(mib)}))
    assert statuses.keys() >= {200, 400, 415, 422}
    assert mib < MOST_GROWTH * warm
    found = service.post("/search", json={"text": "kx-red", "target": "entities"}).json()
    assert found["hits"][0]["exact"]


@pytest.mark.parametrize("name", rubbish.pictures())
def test_every_strange_picture_is_seen_or_refused(service, name):
    answer = service.post("/embed_images", files={"images": ("p", rubbish.pictures()[name])})
    assert answer.status_code in (200, 422), answer.text
    assert answer.status_code == 422 or len(answer.json()["vectors"]) == 1


@pytest.mark.parametrize("name", rubbish.bodies())
def test_huge_json_is_refused_shortly(service, name):
    headers = {"content-type": "application/json"}
    answer = service.post("/search", content=rubbish.bodies()[name], headers=headers)
    assert answer.status_code in (400, 422), answer.text[:300]
    assert len(answer.content) < 2000
