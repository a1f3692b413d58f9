"""Where a request's time goes: one Prometheus histogram, ``entityclip_stage_seconds{stage=...}``.

decode: bytes to the square that the tower sees. queue: until its batch began. encode: the batch. search: from the
vector to the answer; with re-ranking the same is called rank.
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

Stage = Literal["decode", "queue", "encode", "search", "rank"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

Made = TypeVar("Made")

_making = threading.Lock()
_within = threading.local()


# ---------------------------------------------------------------- what is counted
# BentoML tells prometheus_client where workers meet after the service's module was imported; what was made before
# would be seen by one worker alone. Hence made where it is first used, and once however many threads use it first.
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
def _release() -> Gauge:
    from prometheus_client import Gauge

    return Gauge("entityclip_release", "Releases in memory", ["release", "role"], multiprocess_mode="livemax")


@_once
def _not_live() -> Gauge:
    from prometheus_client import Gauge

    return Gauge("entityclip_wanted_not_live", "1: a decided release does not answer", multiprocess_mode="livemax")


# ---------------------------------------------------------------- counting
def tagged(*, unknown: bool) -> None:
    """Count an answer of ``/tag``."""
    _tagged().labels("unknown" if unknown else "known").inc()


def shadowed(outcome: Literal["same", "other", "failed", "dropped"]) -> None:
    """Count what became of a request for the shadowing release: it put the same first, or another, or nothing came."""
    _shadowed().labels(outcome).inc()


def in_memory(release: str, *, role: str, here: bool) -> None:
    """Say that a worker holds this release in this role, or no longer."""
    _release().labels(release, role).set(here)


def wanted_not_live(missing: bool) -> None:
    """Say whether this worker cannot load the release that was decided."""
    _not_live().set(missing)


def observe(stage: Stage, seconds: float) -> None:
    """Count one passage through a stage."""
    _seconds().labels(stage).observe(seconds)
    _within.seconds = getattr(_within, "seconds", 0.0) + seconds


@contextmanager
def timed(stage: Stage) -> Iterator[None]:
    """Count the block as one passage, without the stages that this thread passed inside it."""
    outside = getattr(_within, "seconds", 0.0)
    _within.seconds, started = 0.0, time.perf_counter()
    try:
        yield
    finally:
        whole = time.perf_counter() - started
        _seconds().labels(stage).observe(max(0.0, whole - _within.seconds))
        _within.seconds = outside + whole
