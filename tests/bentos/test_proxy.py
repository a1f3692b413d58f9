"""``deploy/nginx/`` as Debian's nginx runs it: TLS in front of the real service, and of an echo."""

from __future__ import annotations

import io
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from callers import bearer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tiny import tiny_picture

from bentos.build.smoke_test import serving
from bentos.middleware import keys
from bentos.middleware.auth import Guard
from bentos.middleware.body import BODY_BYTES
from entityclip.paths import StateLayout

CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "nginx" / "entityclip.conf"
NAME = "photos.example.com"
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Proxy:
    """A running nginx with a certificate of its own for ``photos.example.com``."""

    http: int
    https: int
    certificate: Path
    log: Path

    def client(self) -> httpx.Client:
        """A client that trusts the certificate and sends the name, as one that resolves it to this machine."""
        trust = ssl.create_default_context(cafile=str(self.certificate))
        return httpx.Client(verify=trust, timeout=60, trust_env=False, headers={"host": NAME})

    def request(self, method: str, path: str, *, secure: bool = True, **parts: Any) -> httpx.Response:
        """One request on a connection of its own."""
        where = f"https://127.0.0.1:{self.https}" if secure else f"http://127.0.0.1:{self.http}"
        with self.client() as client:
            return client.request(method, where + path, extensions={"sni_hostname": NAME}, **parts)


Start = Callable[[int], AbstractContextManager[Proxy]]


def free_ports(count: int) -> list[int]:
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(one.getsockname()[1]) for one in listening]
    finally:
        for one in listening:
            one.close()


@pytest.fixture(scope="module")
def certificate(program: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that signs itself, with its key beside it as ``key.pem``."""
    folder = tmp_path_factory.mktemp("tls")
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"]
    files = ["-addext", f"subjectAltName=DNS:{NAME}", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    command = [program("openssl", package="openssl"), *made, *files]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return folder / "cert.pem"


@pytest.fixture(scope="module")
def proxied(program: Callable[..., Path], certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """``proxied(port)``: nginx with the committed configuration in front of what listens there."""
    nginx = program("nginx", package="nginx")

    @contextmanager
    def start(port: int) -> Iterator[Proxy]:
        folder = tmp_path_factory.mktemp("nginx")
        http, https = free_ports(2)
        here = CONFIG.read_text().replace("127.0.0.1:3000", f"127.0.0.1:{port}")
        here = here.replace("/etc/nginx/tls", str(certificate.parent))
        here = re.sub(r"listen (\[::\]:\d+).*;", "", here)
        here = here.replace("listen 80;", f"listen 127.0.0.1:{http};")
        here = here.replace("listen 443 ssl", f"listen 127.0.0.1:{https} ssl")
        here = here.replace("client_header_timeout 10s;", "client_header_timeout 1s;")
        user = "user root;" if os.geteuid() == 0 else ""
        places = "".join(f"{name}_temp_path {name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        around = "pid pid; daemon off; error_log error.log; events {} http { access_log access.log;"
        (folder / "nginx.conf").write_text(f"{user} {around} {places}\n{here}\n}}\n")
        command = [nginx, "-p", folder, "-c", "nginx.conf", "-e", "error.log"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
            try:
                wait_for(https, server)
                yield Proxy(http, https, certificate, folder / "access.log")
            finally:
                server.terminate()

    return start


def wait_for(port: int, server: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if server.poll() is not None:
            raise AssertionError(server.stderr.read() if server.stderr else "")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nginx did not listen within 60 s")


@contextmanager
def listening(app: Any) -> Iterator[int]:
    """An ASGI application over HTTP on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield int(bound.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


async def tell_headers(request: Request) -> JSONResponse:
    return JSONResponse(dict(request.headers) | {"bytes": len(await request.body())})


@pytest.fixture(scope="module")
def echo(proxied: Start) -> Iterator[Proxy]:
    """The proxy before an application that answers with the headers that reach it."""
    routes = [Route("/{path:path}", tell_headers, methods=["GET", "POST"])]
    with listening(Starlette(routes=routes)) as port, proxied(port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> StateLayout:
    return StateLayout(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def key(state: StateLayout) -> str:
    return keys.make(state.keys, name="shop", scopes=("query", "metrics"))


@pytest.fixture(scope="module")
def service(
    store_home: Path,
    state: StateLayout,
    key: str,
    proxied: Start,
) -> Iterator[Proxy]:
    """The proxy before the real service."""
    real = serving("bentos.service:EntityClip", store=store_home, state=state.root)
    with real as url, proxied(int(url.rpartition(":")[2])) as proxy:
        yield proxy


def picture() -> bytes:
    tiny_picture("red", 1).save(file := io.BytesIO(), "JPEG")
    return file.getvalue()


def test_a_key_is_still_needed_and_enough(service: Proxy, key: str) -> None:
    files = {"image": ("写真.jpg", picture())}
    refused = service.request("POST", "/tag", files=files)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    answer = service.request("POST", "/tag", files=files, headers=bearer(key))
    assert (answer.status_code, answer.json()["release"]) == (200, "v1.0.0")
    assert service.request("POST", "/search", json={"text": "赤いマグカップ"}, headers=bearer(key)).status_code == 200
    assert key not in service.log.read_text()


def test_a_body_beyond_the_limit_is_refused_and_one_below_arrives(service: Proxy, echo: Proxy, key: str) -> None:
    large = b"x" * (BODY_BYTES + 1)
    for where in (service, echo):
        refused = where.request("POST", "/tag", content=large, headers=bearer(key))
        assert (refused.status_code, refused.json()) == (
            413,
            {"error": f"the request is larger than {BODY_BYTES} bytes"},
        )
    assert echo.request("POST", "/tag", content=large[1:]).json()["bytes"] == BODY_BYTES


def test_http_is_redirected_to_https_of_the_name_in_the_configuration(echo: Proxy) -> None:
    for host in (NAME, "evil.example"):
        moved = echo.request("GET", "/docs.json?a=%0d%0ab", secure=False, headers={"host": host})
        assert (moved.status_code, moved.headers["location"]) == (308, f"https://{NAME}/docs.json?a=%0d%0ab")


def test_a_browser_gets_hsts(echo: Proxy) -> None:
    for path in ("/search", "/unknown"):
        assert echo.request("POST", path).headers["strict-transport-security"] == "max-age=31536000"


def test_an_address_that_the_client_claims_is_overwritten(echo: Proxy) -> None:
    claimed = {"x-forwarded-for": "10.0.0.1", "forwarded": "for=10.0.0.1", "x-real-ip": "10.0.0.1", "host": "127.0.0.1"}
    seen = echo.request("POST", "/search", headers=claimed).json()
    assert (seen["x-forwarded-for"], seen["x-real-ip"], seen["x-forwarded-proto"]) == (
        "127.0.0.1",
        "127.0.0.1",
        "https",
    )
    assert (seen["host"], seen["x-forwarded-host"]) == (NAME, NAME)
    assert "forwarded" not in seen


def test_a_service_without_keys_refuses_requests_through_the_proxy(
    proxied: Start,
) -> None:
    guarded = Guard(Starlette(routes=[Route("/search", tell_headers, methods=["POST"])]), state=None, max_concurrency=8)
    with listening(guarded) as port, proxied(port) as proxy:
        assert proxy.request("POST", "/search", headers={"host": "localhost"}).status_code == 401


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/METRICS", "/metrics/", "/search/../metrics", "/search%2f..%2fmetrics", "/", "/api/flows", "/%00"],
)
def test_only_the_paths_of_the_api_pass(service: Proxy, key: str, path: str) -> None:
    refused = service.request("GET", path, headers=bearer(key))
    assert refused.status_code in (400, 404)
    assert "bentoml" not in refused.text


def test_a_service_that_is_down_is_reported_in_the_form_of_a_refusal(
    proxied: Start,
) -> None:
    (nothing,) = free_ports(1)
    with proxied(nothing) as proxy:
        away = proxy.request("POST", "/search")
    assert (away.status_code, away.headers["retry-after"]) == (503, "5")
    assert away.json() == {"error": "the service does not answer"}
    assert "strict-transport-security" in away.headers


def test_a_slow_header_is_not_waited_for(echo: Proxy) -> None:
    trust = ssl.create_default_context(cafile=str(echo.certificate))
    with (
        socket.create_connection(("127.0.0.1", echo.https)) as plain,
        trust.wrap_socket(plain, server_hostname=NAME) as one,
    ):
        one.settimeout(60)
        one.sendall(b"POST /search HTTP/1.1\r\nHost: photos")
        assert one.recv(1000) == b""


def test_an_address_over_its_rate_is_refused(proxied: Start) -> None:
    app = Starlette(routes=[Route("/docs.json", tell_headers)])
    with listening(app) as port, proxied(port) as proxy, proxy.client() as client:
        url = f"https://127.0.0.1:{proxy.https}/docs.json"
        answers = [client.get(url, extensions={"sni_hostname": NAME}) for _ in range(1000)]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < 800
    assert {(answer.status_code, answer.headers["retry-after"]) for answer in refused} == {(429, "1")}
    assert "strict-transport-security" in refused[0].headers


def test_nothing_older_than_tls_1_2_is_spoken(echo: Proxy) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", echo.https)) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain)
