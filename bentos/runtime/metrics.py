"""Prometheus metrics of the service. ``entityclip_stage_seconds{stage=...}`` is the time of each stage of a request.

decode: from bytes to the tower's input square. queue: wait for the batch. encode: the batch. search: from the vector
to the response; with re-ranking the stage is called rank. read: wait for the reader of labels.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram

Stage = Literal["decode", "queue", "encode", "search", "rank", "read"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

Made = TypeVar("Made")

_making = threading.Lock()
_within = threading.local()


# ---------------------------------------------------------------- metrics
# BentoML configures prometheus_client's multiprocess folder after it has imported the service's module. A metric that
# is created earlier stays local to one worker, so each is created on first use, under a lock.
def _once(make: Callable[[], Made]) -> Callable[[], Made]:
    made = cache(make)

    def get() -> Made:
        with _making:
            return made()

    return get


@_once
def _seconds() -> Histogram:
    from prometheus_client import Histogram

    return Histogram("entityclip_stage_seconds", "Seconds of one stage of a request", ["stage"], buckets=SECONDS)


@_once
def _tagged() -> Counter:
    from prometheus_client import Counter

    return Counter("entityclip_tagged", "Tagged pictures", ["answer"])


@_once
def _shadowed() -> Counter:
    from prometheus_client import Counter

    return Counter("entityclip_shadowed", "Requests for the shadowing release", ["outcome"])


@_once
def _canaried() -> Counter:
    from prometheus_client import Counter

    return Counter("entityclip_canary", "Requests for the challenger of a canary", ["outcome"])


@_once
def _release() -> Gauge:
    from prometheus_client import Gauge

    return Gauge("entityclip_release", "Releases in memory", ["release", "role"], multiprocess_mode="livemax")


@_once
def _not_live() -> Gauge:
    from prometheus_client import Gauge

    return Gauge("entityclip_wanted_not_live", "1: a decided release does not answer", multiprocess_mode="livemax")


# ---------------------------------------------------------------- counting
def tagged(*, unknown: bool) -> None:
    """Count a response of ``/tag``."""
    _tagged().labels("unknown" if unknown else "known").inc()


def shadowed(outcome: Literal["same", "other", "failed", "dropped"]) -> None:
    """Count a request to the shadowing release: same or other first entity, failed, or dropped."""
    _shadowed().labels(outcome).inc()


def canaried(outcome: Literal["answered", "failed", "dropped"]) -> None:
    """Count a request to the challenger: answered or failed; or, beside that, not compared."""
    _canaried().labels(outcome).inc()


def in_memory(release: str, *, role: str, here: bool) -> None:
    """Set whether this worker holds the release in this role."""
    _release().labels(release, role).set(here)


def wanted_not_live(missing: bool) -> None:
    """Set whether this worker cannot load the decided release."""
    _not_live().set(missing)


def observe(stage: Stage, seconds: float) -> None:
    """Record the seconds of one stage of a request."""
    _seconds().labels(stage).observe(seconds)
    _within.seconds = getattr(_within, "seconds", 0.0) + seconds


@contextmanager
def timed(stage: Stage) -> Iterator[None]:
    """Record the time of the block as ``stage``, without the stages that this thread recorded inside it."""
    outside = getattr(_within, "seconds", 0.0)
    _within.seconds, started = 0.0, time.perf_counter()
    try:
        yield
    finally:
        whole = time.perf_counter() - started
        _seconds().labels(stage).observe(max(0.0, whole - _within.seconds))
        _within.seconds = outside + whole
