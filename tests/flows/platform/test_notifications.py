"""Automations on a real Prefect server send real messages."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from prefect_homes import prefect_home

pytestmark = pytest.mark.slow

SEND = """
import sys, time
from pathlib import Path
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect import flow
from entityclip.paths import Layout
from entityclip.schemas import PromotionDecision, PromotionPolicy
from flows.platform.notifications import NOTICES, subscribe, tell_verdict
from prefect.automations import Automation

sent = {"subject": "{{subject}}", "body": "{{body}}"}
hook = CustomWebhookNotificationBlock(name="ops", url=sys.argv[1], json_data=sent, allow_private_urls=True)
hook.save("ops", overwrite=True)
block = f"{CustomWebhookNotificationBlock.get_block_type_slug()}/ops"
assert subscribe(block) == list(NOTICES) == subscribe(block)
time.sleep(5)  # the server reloads its automations

@flow
def judge():
    decision = PromotionDecision(promoted=False, reasons=("too little",), challenger="f" * 16, champion="v1.0.0",
        data_hash="d", suite_hash="s", evaluation_hash="e", policy=PromotionPolicy())
    tell_verdict(Layout(Path("/shop")), decision, version="v1.0.0")
    raise RuntimeError("the disk is full")

judge(return_state=True)
time.sleep(3)
"""


@pytest.fixture
def received() -> Iterator[tuple[str, list[dict[str, str]]]]:
    messages: list[dict[str, str]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", messages
    server.shutdown()


@pytest.fixture
def prefect(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Environment of a Prefect server of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {
        "PREFECT_HOME": str(prefect_home(tmp_path / "prefect")),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    environment = os.environ | quiet | {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    command = [str(Path(sys.executable).with_name("prefect")), "server", "start", "--port", str(port)]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait(f"http://127.0.0.1:{port}/api/health", server)
        yield environment
    finally:
        server.terminate()
        server.wait(30)


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while server.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError("Prefect's server did not start")


def test_a_verdict_and_a_failure_reach_a_person(
    prefect: dict[str, str], received: tuple[str, list[dict[str, str]]]
) -> None:
    url, messages = received
    done = subprocess.run([sys.executable, "-c", SEND, url], env=prefect, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    end = time.monotonic() + 60
    while len(messages) < 2 and time.monotonic() < end:
        time.sleep(0.5)
    body_of = {message["subject"]: message["body"] for message in messages}
    assert body_of["entityclip: a challenger was compared"] == (
        "Model ffffffffffff refused, the champion is v1.0.0: too little (workspace /shop)"
    )
    assert "judge, run" in body_of["entityclip: a run failed or crashed"]
    assert "the disk is full" in body_of["entityclip: a run failed or crashed"]
