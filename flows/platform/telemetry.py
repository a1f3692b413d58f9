"""Telemetry of a run: JSON logs, metrics for Prometheus, spans for OpenTelemetry.

``.entityclip/logs/FLOW.jsonl`` has one JSON object per line: time, level, flow, run id, data hash and message.
``.entityclip/metrics/FLOW.prom`` is written when a run ends, for node_exporter's textfile collector.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from prefect.runtime import flow_run
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from entityclip.paths import Layout
from flows.workspace.repository import redacted, translate_disk_full

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "flows", "entityclip", "bentos", "expectations")
MOST_BYTES = 10 * 2**20
KEPT = 5
"""A log is rotated at ``MOST_BYTES``; this many old ones are kept."""


@dataclass
class Observation:
    """Data hash and metrics of a run, filled in while it works."""

    flow: str
    data_hash: str = ""
    """Set as soon as it is known; later log lines carry it."""
    figures: dict[tuple[str, str], float] = field(default_factory=dict)
    """(name, of what) -> value, like ``("drift", "brightness")``."""


@contextmanager
def observed(layout: Layout, flow: str) -> Iterator[Observation]:
    """Log the block and write its metrics, whether it succeeds or fails."""
    seen, started = Observation(flow), time.monotonic()
    handler = _handler(layout.log(flow), seen)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addHandler(handler)
    succeeded = False
    try:
        with traced(seen), translate_disk_full(layout):
            yield seen
        succeeded = True
    except BaseException as error:
        # Only to the file: Prefect prints it on the console.
        about = {"name": "flows", "levelname": "ERROR", "msg": f"{type(error).__name__}: {error}"}
        handler.handle(logging.makeLogRecord(about))
        raise
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        with suppress(OSError):  # the disk is full
            handler.close()
        try:
            _write(layout.metrics(flow), seen, seconds=time.monotonic() - started, succeeded=succeeded)
        except OSError as error:  # a full disk: report the error that ended the run, not this one
            logging.getLogger("flows").warning("%s: metrics not written: %s", layout.metrics(flow), error)


# ---------------------------------------------------------------- lines
class _Lines(logging.Formatter):
    def __init__(self, seen: Observation) -> None:
        super().__init__()
        self._seen = seen

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "flow": self._seen.flow,
            "run": flow_run.get_id() or "",
            "data_hash": self._seen.data_hash,
            "logger": record.name,
            "message": redacted(record.getMessage()),
        }
        return json.dumps(line, ensure_ascii=False)


class _Log(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Ignore a full disk: the console has the line, and a traceback per line would hide the reason."""


def _handler(path: Path, seen: Observation) -> logging.Handler:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _Log(path, maxBytes=MOST_BYTES, backupCount=KEPT, encoding="utf-8", delay=True)
    handler.setFormatter(_Lines(seen))
    return handler


# ---------------------------------------------------------------- figures
def _write(path: Path, seen: Observation, *, seconds: float, succeeded: bool) -> None:
    registry = CollectorRegistry()
    labels = {"flow": seen.flow}
    _gauge(registry, "run_end_timestamp_seconds", "When the last run ended", labels, time.time())
    _gauge(registry, "run_seconds", "Duration of the last run", labels, seconds)
    _gauge(registry, "run_succeeded", "1 if the last run succeeded, else 0", labels, float(succeeded))
    names = dict.fromkeys(name for name, _ in seen.figures)
    for name in names:
        gauge = Gauge(f"entityclip_flow_{name}", f"{name} as of the last run", ["flow", "of"], registry=registry)
        for (of_name, of), value in seen.figures.items():
            if of_name == name:
                gauge.labels(seen.flow, of).set(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), registry)


def _gauge(registry: CollectorRegistry, name: str, about: str, labels: dict[str, str], value: float) -> None:
    Gauge(f"entityclip_flow_{name}", about, list(labels), registry=registry).labels(**labels).set(value)


# ---------------------------------------------------------------- tracing
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
log = logging.getLogger(__name__)


@dataclass
class Step:
    """Outcome of a step, filled in while it works."""

    reason: str = ""
    """Why it was reused; empty if it was run."""


@dataclass(frozen=True)
class _Run:
    tracer: trace.Tracer
    within: Any
    """OpenTelemetry's context of the run's span."""
    steps: list[tuple[trace.Span, int]] = field(default_factory=list)
    """Spans of the steps with their end time in ns."""


_current: ContextVar[_Run | None] = ContextVar("run", default=None)


@contextmanager
def step(name: str) -> Iterator[Step]:
    """Trace a step of the current run; does nothing if no run is traced."""
    run, outcome = _current.get(), Step()
    if run is None:
        yield outcome
        return
    span = run.tracer.start_span(name, context=run.within)
    try:
        yield outcome
    except BaseException as error:
        _failed(span, error)
        raise
    finally:
        span.set_attributes({"entityclip.reused": bool(outcome.reason), "entityclip.reason": outcome.reason})
        run.steps.append((span, time.time_ns()))


@contextmanager
def traced(seen: Observation) -> Iterator[None]:
    """Trace the block as a span with a child span per step; sent when it ends, with or without an error."""
    provider = _provider()
    if provider is None:
        yield
        return
    tracer = provider.get_tracer("entityclip")
    whole = tracer.start_span(seen.flow)
    run = _Run(tracer, trace.set_span_in_context(whole))
    token, run_id = _current.set(run), flow_run.get_id() or ""
    try:
        yield
    except BaseException as error:
        _failed(whole, error)
        raise
    finally:
        _current.reset(token)
        about = {"entityclip.flow": seen.flow, "entityclip.run": run_id, "entityclip.data_hash": seen.data_hash}
        for span, ended in (*run.steps, (whole, time.time_ns())):
            span.set_attributes(about)
            span.end(ended)
        provider.shutdown()


def _failed(span: trace.Span, error: BaseException) -> None:
    span.set_status(trace.StatusCode.ERROR, redacted(f"{type(error).__name__}: {error}"))


def _provider() -> TracerProvider | None:
    """Exporter of spans over HTTP; None if not configured. It is not global, so Prefect's spans are not sent."""
    if not os.environ.get(ENDPOINT):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("%s is set, but the extra otel is not installed: pip install 'entityclip[otel]'", ENDPOINT)
        return None
    name = os.environ.get("OTEL_SERVICE_NAME", "entityclip-flows")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
