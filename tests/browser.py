"""Pages as a browser shows them: headless Chromium behind a proxy that notes every request and answers none."""

from __future__ import annotations

import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

# A program that is started for one page has to ask nobody for updates of its own.
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-pings"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps"),
    *("--disable-domain-reliability", "--disable-features=OptimizationHints,MediaRouter,Translate,PreconnectToSearch"),
    "--virtual-time-budget=3000",
]
BROWSERS_OWN = {
    *("accounts.google.com", "clients2.google.com", "update.googleapis.com", "optimizationguide-pa.googleapis.com"),
    *("edgedl.me.gvt1.com", "redirector.gvt1.com", "android.clients.google.com", "mtalk.google.com", "www.google.com"),
}
"""Hosts that Chromium asks for itself, an empty page open."""
HOSTILE = (
    "<script src=https://evil.example/a.js></script><script>document.title='pwned'</script>"
    "<img src=https://evil.example/b.png onerror=\"document.title='pwned'\"><b>赤い</b>"
    "<style>@import 'https://evil.example/c.css'</style></style></title></textarea>{{ 7 * 7 }}"
    '<meta http-equiv=refresh content="0;url=https://evil.example/d"><base href=https://evil.example/>'
)
"""A text of a user that would run, load and lead away if a page took it for HTML."""


class Visit(NamedTuple):
    """What a browser made of a page."""

    dom: str
    """After its scripts, if any ran."""
    requests: list[str]
    """The first line of every request that left the browser, but for those of its own."""


class _Recorder(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads = True, True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Note)
        self.lines: list[str] = []


class _Note(socketserver.StreamRequestHandler):
    server: _Recorder

    def handle(self) -> None:
        if line := self.rfile.readline(10_000).decode("latin-1").strip():
            self.server.lines.append(line)
        self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")


@contextmanager
def _recorder() -> Iterator[_Recorder]:
    with _Recorder() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def visit(chromium: Path, page: Path, *, profile: Path) -> Visit:
    """Open a file in a new profile and wait until it has settled."""
    with _recorder() as proxy:
        port = proxy.server_address[1]
        command = [str(chromium), *FLAGS, f"--user-data-dir={profile}", f"--proxy-server=127.0.0.1:{port}"]
        command += ["--proxy-bypass-list=<-loopback>", "--dump-dom", page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, check=True, timeout=120)
        return Visit(done.stdout.decode(), [line for line in proxy.lines if _host(line) not in BROWSERS_OWN])


def _host(line: str) -> str:
    """CONNECT host:443 HTTP/1.1 and GET http://host/path HTTP/1.1 -> host."""
    target = line.split(" ")[1] if " " in line else line
    return urlsplit(target if "://" in target else f"//{target}").hostname or ""


class _Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, dom: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(dom)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def require_harmless(seen: Visit) -> None:
    """Fail where user text became markup, a script ran, or a request left the machine."""
    assert seen.requests == []
    elements = _Elements(seen.dom).found
    assert {tag for tag, _ in elements}.isdisjoint({"script", "base", "link", "iframe", "object", "embed", "form"})
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    assert {(a["src"] or "").partition(":")[0] for tag, a in elements if tag == "img"} <= {"data"}
    assert {a["http-equiv"] for tag, a in elements if "http-equiv" in a} == {"Content-Security-Policy"}
    assert "&lt;script" in seen.dom  # the text is there to be read
    assert "{{ 7 * 7 }}" in seen.dom
