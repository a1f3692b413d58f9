"""A chat server that fails as the caption of a request names, and counts its requests.

``python hostile.py`` prints its port and serves until it is killed; GET /counts gives entity -> requests.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD = {"text": "A red kettle with white dots and a black lid.", "visible": ["red", "dots"], "doubts": []}


class HostileServer(ThreadingHTTPServer):
    """``counts``: entity -> requests; ``heard``: every request's headers and body."""

    daemon_threads = True

    def __init__(self, *, delay: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.delay, self.counts = delay, Counter[str]()
        self.heard: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.times: dict[str, list[float]] = {}
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gives up is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: HostileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(200, json.dumps(self.server.counts))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = body["messages"][1]["content"]
        user = content if isinstance(content, str) else content[0]["text"]
        data = json.loads(re.search(r"<data>\n(.*)\n</data>", user)[1])
        with self.server.lock:
            self.server.counts[data["name"]] += 1
            self.count = self.server.counts[data["name"]]
            self.server.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.server.times.setdefault(data["name"], []).append(time.monotonic())
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        time.sleep(self.server.delay)
        with self.server.lock:
            self.server.at_once -= 1
        getattr(self, f"_{data['caption']}", self._good)()

    def log_message(self, *args: Any) -> None:
        """Quiet."""

    def _send(self, status: int, body: str, **headers: str) -> None:
        raw = body.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(raw)

    def _says(self, content: str, *, finish: str = "stop") -> None:
        choice = {"message": {"role": "assistant", "content": content}, "finish_reason": finish}
        self._send(200, json.dumps({"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 20}}))

    def _good(self) -> None:
        self._says(json.dumps(GOOD))

    def _japanese(self) -> None:
        self._says(json.dumps({**GOOD, "text": "白い水玉模様の赤いやかんで、ふたは黒いです。"}, ensure_ascii=False))

    def _fenced(self) -> None:
        self._says(f"<think>Is {{this}} red?</think>Sure!\n```json\n{json.dumps(GOOD)}\n```\nAnything else?")

    def _busy(self) -> None:
        if self.count == 1:
            self._send(429, '{"error": {"message": "slow down"}}', Retry_After="1")
        else:
            self._good()

    def _broken(self) -> None:
        if self.count < 3:
            self._send(500, "Internal Server Error")
        else:
            self._good()

    def _down(self) -> None:
        self._send(503, "down")

    def _closed(self) -> None:
        if self.count > 1:
            self._good()
        self.close_connection = True

    def _half(self) -> None:
        if self.count > 1:
            return self._good()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices": [{"mess')
        self.close_connection = True
        return None

    def _endless(self, *, pause: float = 0.0, piece: int = 2**16) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.close_connection = True
        while True:
            self.wfile.write(b" " * piece)
            time.sleep(pause)

    def _dripping(self) -> None:
        self._endless(pause=0.05, piece=1)

    def _slow(self) -> None:
        time.sleep(5)
        self._good()

    def _nonsense(self) -> None:
        self._send(200, "<html>Welcome to the gateway</html>")

    def _wrong(self) -> None:
        self._says(json.dumps(GOOD) if self.count > 1 else '{"text": 7, "colour": "red"}')

    def _rambling(self) -> None:
        self._says("The kettle is red, and red is a colour that " * 9, finish="length")

    def _silent(self) -> None:
        self._send(200, '{"choices": [{"message": {"content": null}, "finish_reason": "content_filter"}]}')

    def _uncounted(self) -> None:
        self._send(200, json.dumps({"choices": [{"message": {"content": json.dumps(GOOD)}}]}))

    def _refused(self) -> None:
        self._send(400, '{"error": {"message": "unknown field response_format"}}')

    def _locked(self) -> None:
        self._send(401, json.dumps({"error": {"message": f"wrong key {self.headers['Authorization']}"}}))

    def _elsewhere(self) -> None:
        self._send(307, "", Location="http://192.0.2.1/v1/chat/completions")


if __name__ == "__main__":
    server = HostileServer(delay=0.02)
    print(server.server_port, flush=True)
    server.serve_forever()
