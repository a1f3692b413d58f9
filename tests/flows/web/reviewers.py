"""A workspace whose gate quarantined texts, and the review pages on it in this process."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import uvicorn
from starlette.testclient import TestClient
from tiny import COLOURS, tiny_data
from visitors import HOSTILE_TEXTS

from bentos.middleware import keys
from entityclip.data import pairs
from entityclip.monitoring.feedback import JudgedRow
from entityclip.paths import Layout
from entityclip.schemas import QualityReport
from entityclip.storage import write_table
from expectations.quarantine import COLUMNS, write_quarantine_file
from flows.web.server import application

FROM_BROWSER = {"base_url": "http://localhost", "client": ("127.0.0.1", 50000)}


def quarantined_workspace(root: Path, *, texts: int, hostile: bool = False) -> Layout:
    """Staging with six entities and ``texts`` explanations, of which the gate quarantined every one."""
    layout = Layout(root)
    layout.reports.mkdir(parents=True)
    data = tiny_data(layout.staging.root)
    (first, *_) = pairs.iter_rows(data.explanations)
    rows = []
    for number in range(texts):
        name = f"KX-{COLOURS[number % 6].upper()}"
        beside = HOSTILE_TEXTS.get(name, "") if hostile else ""
        text = f"Write to shop{number % 40}@shop.example, number {number}. {beside}".strip()
        about = {"entity_id": pairs.entity_id(name), "caption": name, "text": text}
        rows.append(first | about | {"explanation_id": pairs.digest(text)})
    pairs.write_rows(data.explanations, pairs.EXPLANATIONS, rows, name="explanations")
    quarantine = layout.quarantine("batch")
    lines = [
        {
            "table": "explanations",
            "id": row["explanation_id"],
            "rule": "email",
            "value": row["text"].split()[2].strip(","),
        }
        for row in rows
    ]
    lines += [{**lines[0], "rule": "too_short", "value": "7"}, {"table": "pairs", "id": "p", "rule": "no_right"}]
    quarantine.parent.mkdir(parents=True)
    write_quarantine_file(quarantine, pd.DataFrame(lines, columns=COLUMNS))
    report = QualityReport(
        accepted_pairs=1,
        accepted_explanations=0,
        quarantined_pairs=1,
        quarantined_explanations=texts,
        quarantine_file=str(quarantine),
        refused=False,
        rules=(),
        suite_hash="",
        validation_page=None,
    )
    report.portable(layout.root).write(layout.staging_quality)
    return layout


def doubted_picture(layout: Layout, *, right: str = "right", wrong: str = "wrong") -> bytes:
    """A picture that the keys with these ids confirmed and denied to show KX-RED, ingested as feedback; the file."""
    png: bytes = next(iter(pairs.iter_rows(layout.staging.pairs)))["image"]["bytes"]
    sha = hashlib.sha256(png).hexdigest()
    layout.feedback.picture(sha).parent.mkdir(parents=True)
    layout.feedback.picture(sha).write_bytes(png)
    about = {"entity_id": pairs.entity_id("KX-RED"), "entity": "KX-RED", "release": "v1.0.0", "picture": sha}
    day = datetime.now(UTC).date()
    judged = {right: "right", wrong: "wrong"}
    rows = [JudgedRow(id=verdict, day=day, key=key, verdict=verdict, **about) for key, verdict in judged.items()]
    write_table(layout.feedback.judged, pd.DataFrame([row.model_dump() for row in rows]))
    return png


class Person:
    """A reviewer with a browser that runs no script: reads pages, sends their forms."""

    def __init__(self, app: Any, key: str) -> None:
        self.client = TestClient(app, **FROM_BROWSER)
        answer = self.client.post("/ui/sign-in", data={"key": key})
        assert answer.url.path == "/ui/review", answer.text
        self.page = answer.text

    @property
    def token(self) -> str:
        return re.search(r'name="token" value="([^"]+)"', self.page)[1]

    @property
    def item(self) -> str:
        """Id of the item on the page; '' where there is none."""
        found = re.search(r'name="item" value="([^"]+)"', self.page)
        return found[1] if found else ""

    def look(self, path: str = "/ui/review") -> str:
        self.page = self.client.get(path).text
        return self.page

    def send(self, action: str = "decide", *, item: str | None = None, **fields: str) -> str:
        data = {"token": self.token, "item": self.item if item is None else item} | fields
        self.page = self.client.post(f"/ui/review/{action}", data=data).text
        return self.page


def make_key(layout: Layout, name: str) -> str:
    """A key of a reviewer who may release as well."""
    scopes = ("query", "review", "release")
    return keys.make(layout.service.keys, name=name, scopes=scopes, per_minute=1_000_000)


PersonMaker = Callable[..., Person]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return quarantined_workspace(tmp_path / "workspace", texts=12)


@pytest.fixture
def person(layout: Layout) -> PersonMaker:
    """``person("Ana", opinions=2)``: Ana, Ben or Cem at the pages of the workspace; all are at the same server."""
    known = {name: make_key(layout, name) for name in ("Ana", "Ben", "Cem")}
    apps: dict[int, Any] = {}

    def signed_in(name: str, *, opinions: int = 1) -> Person:
        if opinions not in apps:
            apps[opinions] = application(layout, layout.service, opinions=opinions)
        return Person(apps[opinions], known[name])

    return signed_in


@contextmanager
def serving(layout: Layout) -> Iterator[str]:
    """The server in a thread of this process, at a free port."""
    config = uvicorn.Config(application(layout, layout.service), port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:  # or a failed test would wait for the thread for ever
        server.should_exit = True
        thread.join()
