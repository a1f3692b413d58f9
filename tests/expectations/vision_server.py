"""A chat server that looks at the pictures of a request: a claim about a colour is true where pixels have it.

It can see nothing but colours. ``faulty`` replies have an answer too few, so many times.
"""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

from entityclip.data.sources.synthetic.drawing import COLOURS

JAPANESE = {"赤": "red", "青": "blue", "白": "white"}


class VisionServer(ThreadingHTTPServer):
    """``heard``: the body of every request."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *, faulty: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faulty, self.heard = faulty, list[dict[str, Any]]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self) -> VisionServer:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: VisionServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.heard.append(body)
        words, *pictures = body["messages"][1]["content"]
        data = json.loads(re.search(r"<data>\n(.*)\n</data>", words["text"])[1])  # type: ignore[index]
        shown = [_pixels(part["image_url"]["url"]) for part in pictures]
        answers = [_answer(claim, shown) for claim in data["claims"].values()]
        if self.server.faulty > 0:
            self.server.faulty -= 1
            answers = answers[1:]
        message = {"role": "assistant", "content": json.dumps({"answers": answers})}
        reply = {"choices": [{"message": message, "finish_reason": "stop"}]}
        raw = json.dumps({**reply, "usage": {"prompt_tokens": 900, "completion_tokens": 12}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


def _pixels(url: str) -> np.ndarray:
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
    return np.asarray(picture, dtype=float).reshape(-1, 3)


def _answer(claim: str, shown: list[np.ndarray]) -> str:
    attribute, _, value = claim.partition(": ")
    colour = COLOURS.get(JAPANESE.get(value, value))
    if attribute != "colour" or colour is None:
        return "cannot see"
    near = [np.abs(pixels - np.array(colour)).max(axis=1) < 40 for pixels in shown]
    return "yes" if any(one.mean() > 0.02 for one in near) else "no"
