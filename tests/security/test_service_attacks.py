"""Attacks on a service as it runs, over real sockets: what each would break, and that it does not."""

import re
import resource
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from callers import bearer
from served import package, released, store_home  # noqa: F401  (fixtures)

from bentos.build.smoke_test import serving
from bentos.middleware import keys
from bentos.middleware.body import BODY_SECONDS
from bentos.middleware.connections import HEADER_SECONDS
from entityclip.paths import StateLayout, StoreLayout

SERVICE = "bentos.service:EntityClip"
FILES = 256
"""Open files that the service may have: what some systems allow a process by default."""

pytestmark = pytest.mark.slow


class Target(NamedTuple):
    """A running service with one worker, and what an administrator of it holds."""

    url: str
    port: int
    log: Path
    store: Path
    administrator: dict[str, str]

    def metrics(self) -> str:
        answer = httpx.get(f"{self.url}/metrics", headers=self.administrator, timeout=30)
        assert answer.status_code == 200
        return answer.text


@pytest.fixture(scope="module")
def target(store_home: Path, tmp_path_factory) -> Iterator[Target]:  # noqa: F811
    state = StateLayout(tmp_path_factory.mktemp("state"))
    key = keys.make(state.keys, name="all", scopes=("query", "metrics"), per_minute=1_000_000, max_concurrency=1000)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with ExitStack() as running:
        with pytest.MonkeyPatch.context() as patch:  # the server alone: this process may have more files open already
            limit = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (FILES, hard))
            patch.setattr("bentos.build.smoke_test.subprocess.Popen", partial(subprocess.Popen, preexec_fn=limit))
            url = running.enter_context(serving(SERVICE, store=store_home, state=state.root))
        log = StoreLayout(store_home.resolve()).log(SERVICE.partition(":")[2])
        yield Target(url, int(url.rpartition(":")[2]), log, store_home, bearer(key))


def ask(target: Target, path: bytes, *, method: bytes = b"GET") -> bytes:
    """Send a request line byte by byte as it is, and return the status line of the answer."""
    with socket.create_connection(("127.0.0.1", target.port), timeout=10) as connection:
        connection.sendall(method + b" " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return connection.makefile("rb").readline()


# ---------------------------------------------------------------- metrics
def test_requests_for_made_up_paths_do_not_grow_the_metrics(target):
    ask(target, b"/made-up/before")
    ask(target, b"/assets/before.js")
    before = len(target.metrics())
    with httpx.Client(base_url=target.url) as client:
        for number in range(150):
            assert client.get(f"/made-up/{number}").status_code == 401
            client.get(f"/assets/{number}.js")
            client.post(f"/search/../{number}", content=b"x")
    after = target.metrics()
    assert "made-up/" not in after
    assert 'endpoint="unknown",http_response_code="401"' in after
    assert len(after) < before + 5000


# ---------------------------------------------------------------- connections
def test_silent_connections_do_not_make_the_service_unready(target):
    with ExitStack() as held:
        for _ in range(2 * FILES):
            with suppress(OSError):  # a service that takes no more
                held.enter_context(socket.create_connection(("127.0.0.1", target.port), timeout=10))
        for probe in ("/livez", "/readyz"):
            assert httpx.get(target.url + probe, timeout=5).status_code == 200
        answer = httpx.post(
            f"{target.url}/embed_texts", headers=target.administrator, json={"texts": ["kettle"]}, timeout=20
        )
        assert answer.status_code == 200


SLOW = {
    "silent": b"",
    "headers without end": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "body after the refusal": b"POST /tag HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n",
    "body of a request with a key": b"POST /tag HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n%s\r\n",
}


def test_connection_ends_however_slowly_its_caller_sends(target):
    key = f"Authorization: {target.administrator['authorization']}\r\n".encode()
    with ExitStack() as held:
        slow = {}
        for name, sent in SLOW.items():
            connection = held.enter_context(socket.create_connection(("127.0.0.1", target.port), timeout=1))
            connection.sendall(sent.replace(b"%s", key))
            slow[name] = connection
        end = time.monotonic() + BODY_SECONDS + HEADER_SECONDS + 10
        while slow and time.monotonic() < end:
            time.sleep(0.5)
            slow = {name: connection for name, connection in slow.items() if _still_open(connection, name)}
        assert not slow


def _still_open(connection: socket.socket, name: str) -> bool:
    try:
        if name != "silent":
            connection.sendall(b"x")
        connection.settimeout(0.01)
        while connection.recv(4096):  # what it has answered so far
            pass
    except TimeoutError:
        return True
    except OSError:  # reset by the service
        return False
    return False


# ---------------------------------------------------------------- log
@pytest.mark.parametrize("mark", ["%0a", "%0d%0a", "%1b%5b2K", "%e2%80%a8", "%c2%85", "%c2%9b31m", "%e2%80%ae"])
def test_log_line_cannot_be_forged_by_a_path(target, mark):
    forged = f"forged-by-{mark[1:3]}-{mark[-3:].strip('%')}"
    assert b" 401 " in ask(target, f"/x{mark}{forged}".encode())
    end = time.monotonic() + 10
    while forged not in (written := target.log.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    (line,) = [line for line in re.split("[\n\r\x85\u2028]", written) if forged in line]
    assert "path=/x" in line
    assert line.isprintable()


# ---------------------------------------------------------------- the last one: its server writes into the same log
def test_a_smoke_test_beside_the_service_leaves_its_metrics_alone(target):
    def counted() -> float:
        found = re.findall(
            r'request_total\{endpoint="/embed_texts",http_response_code="200".*\} (\S+)', target.metrics()
        )
        return sum(map(float, found))

    for _ in range(5):
        httpx.post(f"{target.url}/embed_texts", headers=target.administrator, json={"texts": ["kettle"]})
    before = counted()
    assert before >= 5
    with serving(SERVICE, store=target.store):
        assert counted() == before
    httpx.post(f"{target.url}/embed_texts", headers=target.administrator, json={"texts": ["kettle"]})
    assert counted() == before + 1
