"""Connections that a caller holds: each ends in time, and none keeps another caller out. Over real sockets."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bentos.middleware import connections
from bentos.middleware.connections import HEADER_BYTES, Connection

pytestmark = pytest.mark.slow

SECONDS = 0.4
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Short(Connection):
    header_seconds = SECONDS
    unread_seconds = SECONDS
    most = 5


def _hello(request) -> Response:
    return PlainTextResponse("hello")


def _large(request) -> Response:
    return Response(b"x" * 20_000_000)


@pytest.fixture(scope="module")
def working() -> threading.Event:
    """Set: what ``/wait`` waits for."""
    return threading.Event()


@pytest.fixture(scope="module")
def port(working: threading.Event) -> Iterator[int]:
    def wait(request) -> Response:
        working.wait(10)
        return PlainTextResponse("done")

    app = Starlette(routes=[Route("/", _hello), Route("/large", _large), Route("/wait", wait)])
    server = uvicorn.Server(uvicorn.Config(app, http=Short, port=0, log_config=None, timeout_keep_alive=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@contextmanager
def connected(port: int, *, buffer: int = 0) -> Iterator[socket.socket]:
    with socket.socket() as connection:
        if buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", port))
        yield connection


def seconds_until_closed(connection: socket.socket, *, every: bytes = b"") -> float:
    """Until the other side ends it; ``every`` is sent again and again meanwhile."""
    started = time.monotonic()
    connection.settimeout(0.05)
    while time.monotonic() - started < 10:
        try:
            if every:
                connection.sendall(every)
            if connection.recv(65536) == b"":
                return time.monotonic() - started
        except TimeoutError:
            continue
        except OSError:
            return time.monotonic() - started
    raise AssertionError("still open")


def answered(connection: socket.socket, request: bytes = GET) -> bytes:
    connection.sendall(request)
    return connection.recv(4096)


def test_connection_without_a_request_ends(port):
    with connected(port) as silent:
        assert SECONDS / 2 < seconds_until_closed(silent) < 5 * SECONDS


def test_headers_that_trickle_in_end_it(port):
    with connected(port) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        assert seconds_until_closed(slow, every=b"x") < 5 * SECONDS


def test_the_headers_of_a_later_request_have_no_more_time(port):
    with connected(port) as slow:
        assert b"200 OK" in answered(slow)
        slow.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        assert seconds_until_closed(slow, every=b"x") < 1 + 5 * SECONDS


def test_body_that_is_not_read_has_no_more_time(port):
    with connected(port) as slow:
        assert b"200 OK" in answered(slow, b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        assert seconds_until_closed(slow, every=b"x") < 1 + 5 * SECONDS


def test_headers_without_end_are_refused(port):
    with connected(port) as large:
        large.sendall(b"GET / HTTP/1.1\r\nX-Large: " + b"x" * (HEADER_BYTES - 100))
        time.sleep(0.05)
        large.sendall(b"x" * 200)
        answer = large.recv(4096)
        assert answer.startswith(b"HTTP/1.1 431")
        assert answer.endswith(b'{"error": "the headers of the request are too long"}')


def test_answer_that_is_not_read_ends_it(port):
    with connected(port, buffer=4096) as lazy:
        lazy.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(4 * SECONDS)
        got = 0
        with suppress(ConnectionResetError):
            while part := lazy.recv(65536):
                got += len(part)
        assert got < 20_000_000


def test_large_answer_that_is_read_comes_whole(port):
    with connected(port) as eager:
        eager.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        got = 0
        while part := eager.recv(65536):
            got += len(part)
    assert got > 20_000_000


def test_one_more_closes_the_one_that_waits_longest_and_none_in_work(port, working):
    working.clear()
    with connected(port) as busy, connected(port) as oldest:
        busy.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.05)
        others = [connected(port) for _ in range(Short.most)]
        opened = [other.__enter__() for other in others]
        assert seconds_until_closed(oldest) < SECONDS / 2
        assert b"200 OK" in answered(opened[-1])
        working.set()
        assert b"200 OK" in busy.recv(4096)
        for other in others:
            other.__exit__(None, None, None)


def test_where_all_are_in_work_one_more_is_closed(port, working):
    working.clear()
    held = [connected(port) for _ in range(Short.most)]
    busy = [each.__enter__() for each in held]
    for each in busy:
        each.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
    time.sleep(0.1)
    with connected(port) as one_more:
        assert seconds_until_closed(one_more) < SECONDS / 2
    working.set()
    assert all(b"200 OK" in each.recv(4096) for each in busy)
    for each in held:
        each.__exit__(None, None, None)


def test_connection_is_kept_for_the_next_request(port):
    with connected(port) as kept:
        for _ in range(3):
            assert b"200 OK" in answered(kept)
            time.sleep(SECONDS)


def test_few_open_files_allow_few_connections(monkeypatch):
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: (256, 256))
    assert connections.most_connections() == 128
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: (10**6, 10**6))
    assert connections.most_connections() == connections.MAX_CONNECTIONS


def test_every_server_of_the_process_takes_it(monkeypatch):
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", "")
    connections.use()
    config = uvicorn.Config(Starlette(), log_config=None)
    config.load()
    assert config.http_protocol_class is Connection
