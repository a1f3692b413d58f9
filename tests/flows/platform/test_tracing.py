"""Spans of a run, received by a test collector on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from entityclip.errors import WorkspaceError
from entityclip.paths import Layout
from flows.platform.telemetry import observed
from flows.steps.stage_timer import StageTimer

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")


@dataclass
class Collector:
    """Received requests of OTLP over HTTP."""

    url: str = ""
    paths: list[str] = field(default_factory=list)
    spans: list[Any] = field(default_factory=list)

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Name of a span -> its attributes."""
        return {span.name: {a.key: _value(a.value) for a in span.attributes} for span in self.spans}


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found = Collector()

    class Receive(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            found.paths.append(self.path)
            found.spans += [span for r in sent.resource_spans for scope in r.scope_spans for span in scope.spans]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Receive) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


def work(layout: Layout) -> None:
    clock = StageTimer()
    with observed(layout, "retrain") as run:
        with clock.stage("ingest"):
            time.sleep(0.05)
        run.data_hash = "abc.dir"
        with clock.stage("train"):
            clock.reason = "the same data"


def test_each_step_is_a_span_inside_the_runs_with_data_hash_and_reuse(tmp_path: Path, collector: Collector) -> None:
    work(Layout(tmp_path))
    assert collector.paths == ["/v1/traces"]
    spans = collector.attributes()
    assert set(spans) == {"retrain", "ingest", "train"}
    assert {about["entityclip.data_hash"] for about in spans.values()} == {"abc.dir"}
    assert [spans[name]["entityclip.reused"] for name in ("ingest", "train")] == [False, True]
    assert spans["train"]["entityclip.reason"] == "the same data"
    spans = {span.name: span for span in collector.spans}
    assert {spans[name].parent_span_id for name in ("ingest", "train")} == {spans["retrain"].span_id}
    assert spans["ingest"].end_time_unix_nano - spans["ingest"].start_time_unix_nano >= 50_000_000
    assert spans["ingest"].end_time_unix_nano <= spans["train"].start_time_unix_nano


def test_a_step_that_fails_is_sent_with_the_run_and_without_secrets(tmp_path: Path, collector: Collector) -> None:
    with pytest.raises(WorkspaceError), observed(Layout(tmp_path), "retrain"), StageTimer().stage("version"):
        raise WorkspaceError("https://ana:hunter2@shop.example is away")
    status_of = {span.name: span.status for span in collector.spans}
    assert {name: status.code for name, status in status_of.items()} == {"version": 2, "retrain": 2}
    assert status_of["version"].message == "WorkspaceError: https://***@shop.example is away"


def test_a_collector_that_is_away_fails_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    work(Layout(tmp_path))


@pytest.mark.slow
def test_without_an_address_nothing_that_sends_is_even_loaded(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys; from tests.flows.platform.test_tracing import work; from entityclip.paths import Layout\n"
        "before = set(sys.modules); work(Layout(pathlib.Path(sys.argv[1])))\n"
        "print([m for m in set(sys.modules) - before if m.startswith('opentelemetry.exporter.otlp.proto.http.trace')])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_a_flow_sends_the_run_id_that_prefect_knows(tmp_path: Path, collector: Collector) -> None:
    from prefect_homes import prefect_home  # the test above imports this file without the folder of the tests

    script = (
        "import pathlib, sys; from prefect import flow; from prefect.runtime import flow_run\n"
        "from flows.platform.ephemeral_server import begin; from flows.platform.telemetry import observed\n"
        "from flows.steps.stage_timer import StageTimer\n"
        "from entityclip.paths import Layout\n"
        "@flow\n"
        "def inner():\n"
        "    with StageTimer().stage('ingest'): pass\n"
        "@flow\n"
        "def outer():\n"
        "    with observed(Layout(pathlib.Path(sys.argv[1])), 'outer'): inner()\n"
        "    return flow_run.get_id()\n"
        "with begin() as answers:\n"
        "    answers(); print(outer())"
    )
    environment = os.environ | {
        "PREFECT_HOME": str(prefect_home(tmp_path / "prefect")),
        "PREFECT_LOGGING_LEVEL": "ERROR",
    }
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    spans = collector.attributes()
    assert set(spans) == {"outer", "ingest"}  # and no span of Prefect's own
    assert {about["entityclip.run"] for about in spans.values()} == {done.stdout.split()[-1]}
