"""Spans of a run for OpenTelemetry: one for the run, and inside it one for each step.

Off unless ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set; the SDK's other variables (headers, service name, timeout) hold as
well. Steps are kept until the run ends, because most of them are over before the data's hash is known.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from prefect.runtime import flow_run

from flows.repository import redacted

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from flows.observe import Observation

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
log = logging.getLogger(__name__)


@dataclass
class Step:
    """What a step tells about itself while it works."""

    reason: str = ""
    """Why it was reused; empty where it was done."""


@dataclass(frozen=True)
class _Run:
    tracer: trace.Tracer
    within: Any
    """OpenTelemetry's context of the run's span."""
    steps: list[tuple[trace.Span, int]] = field(default_factory=list)
    """Each with the time at which it ended, ns."""


_current: ContextVar[_Run | None] = ContextVar("run", default=None)


@contextmanager
def step(name: str) -> Iterator[Step]:
    """A step of the run at work; nothing where no run is traced."""
    run, told = _current.get(), Step()
    if run is None:
        yield told
        return
    span = run.tracer.start_span(name, context=run.within)
    try:
        yield told
    except BaseException as error:
        _failed(span, error)
        raise
    finally:
        span.set_attributes({"entityclip.reused": bool(told.reason), "entityclip.reason": told.reason})
        run.steps.append((span, time.time_ns()))


@contextmanager
def traced(seen: Observation) -> Iterator[None]:
    """Make the block a span, and the steps in it spans within; sent when it ends, well or not."""
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
    """What sends spans over HTTP; None where nobody asked for it. Not the process's own: Prefect's stay unsent."""
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
