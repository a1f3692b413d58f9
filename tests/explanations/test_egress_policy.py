from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from pydantic import ValidationError

from entityclip.errors import ConfigError
from entityclip.explanations.egress_policy import HostPolicy, host_of


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1:8000/v1", "127.0.0.1"),
        ("http://127.8.9.1/v1", "127.8.9.1"),
        ("http://[::1]:8000/v1", "::1"),
        ("HTTP://LocalHost:11434/v1", "localhost"),
        ("https://localhost./v1", "localhost"),
    ],
)
def test_this_machine_may_always_be_sent_to(url: str, host: str) -> None:
    assert HostPolicy().require(url) == host


ELSEWHERE = [
    "http://0.0.0.0:8000/v1",
    "http://192.168.0.10/v1",
    "http://[::]/v1",
    "http://[::ffff:8.8.8.8]/v1",
    "http://169.254.169.254/latest",
    "https://api.example.com/v1",
    "http://localhost.example.com/v1",
    "http://127.0.0.1.example.com/v1",
    "http://my.localhost/v1",
]
TRICKS = [
    "http://localhost@example.com/v1",
    "http://127.0.0.1:80@example.com/v1",
    "http://example.com\\@127.0.0.1/v1",
    "http://127.0.0.1\\.example.com/v1",
    "http://2130706433/v1",
    "http://0x7f000001/v1",
    "http://0x7f.0.0.1/v1",
    "http://0177.0.0.1/v1",
    "http://127.1/v1",
    "http://127.0.0.1%2eexample.com/v1",
    "http://local\thost/v1",
    "http://localhost\n.example.com/v1",
    "http://ｌｏｃａｌｈｏｓｔ/v1",
    "http://127。0。0。1/v1",
    "http://127.0.0.1:99999/v1",
    "http://[::1/v1",
    "http:///v1",
    "//localhost/v1",
    "localhost:8000/v1",
    "file://localhost/etc/passwd",
    "ftp://localhost/v1",
    "",
]


@pytest.mark.parametrize("url", ELSEWHERE)
def test_a_host_elsewhere_is_refused_with_what_to_set(url: str) -> None:
    with pytest.raises(ConfigError, match=r"add .* to hosts\.allowed"):
        HostPolicy().require(url)
    assert HostPolicy(local_only=False).require(url) == host_of(url)


@pytest.mark.parametrize("url", TRICKS)
@pytest.mark.parametrize("policy", [HostPolicy(), HostPolicy(local_only=False)])
def test_an_address_that_could_be_read_in_two_ways_is_refused(url: str, policy: HostPolicy) -> None:
    with pytest.raises(ConfigError, match="expected"):
        policy.require(url)


def test_what_stands_before_an_at_sign_is_in_no_message() -> None:
    with pytest.raises(ConfigError) as caught:
        HostPolicy().require("https://me:secret@example.com/v1")
    assert "secret" not in str(caught.value)


def test_an_allowed_host_is_that_very_host() -> None:
    policy = HostPolicy(allowed=("LLM.example.com", "192.168.0.10", "[FD00::1]"))
    for url in ("https://llm.example.com/v1", "http://192.168.0.10:8000", "http://[fd00:0::1]/v1"):
        policy.require(url)
    for url in ("https://example.com", "https://x.llm.example.com", "https://llm.example.com.evil.com"):
        with pytest.raises(ConfigError, match="may only be sent"):
            policy.require(url)


@pytest.mark.parametrize("host", ["", "*", "*.example.com", "https://example.com", "example.com:443", "example.com/v1"])
def test_an_allowed_host_is_written_as_a_host(host: str) -> None:
    with pytest.raises(ValidationError, match="expected a name"):
        HostPolicy(allowed=(host,))


# ---------------------------------------------------------------- the client
class _Elsewhere(BaseHTTPRequestHandler):
    """Redirects every request to a host that is not allowed."""

    def do_POST(self) -> None:
        self.send_response(307)
        self.send_header("Location", "http://192.0.2.1/v1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Elsewhere) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def response_of(policy: HostPolicy, base: str, url: str, **settings: bool) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with policy.client(base, timeout=5) as client:
            return await client.post(url, json={"text": "private"}, **settings)

    return asyncio.run(ask())


def test_a_redirect_is_not_followed(server: str) -> None:
    assert response_of(HostPolicy(), server, server).status_code == 307


def test_a_redirect_elsewhere_is_refused_even_where_redirects_are_followed(server: str) -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
        response_of(HostPolicy(), server, server, follow_redirects=True)


def test_what_is_meant_for_this_machine_goes_through_no_proxy(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://192.0.2.1:9")
    assert response_of(HostPolicy(), server, server).status_code == 307
