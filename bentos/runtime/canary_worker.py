"""A worker's part in a canary: answers of the challenger, and the same requests to the release in service.

The comparison is paired: after the response, the release in service gets the same request, so that a difference is one
of the releases and not of the callers. One thread does this for at most ``WAITING`` requests at a time. Whether one is
compared is decided before the challenger gets it, so that failures and answers are left out alike under load.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Literal

from bentos import settings
from bentos.runtime import canary, metrics
from bentos.runtime.active_release import Canary
from bentos.runtime.canary_record import Arm, CanaryRecord
from bentos.runtime.feedback import Feedback
from bentos.runtime.loaded_release import Found, LoadedRelease
from entityclip.errors import DataError
from entityclip.paths import StateLayout
from entityclip.schemas import Hit, Tag

WAITING = 16
DEADLINE_SECONDS = settings.SECONDS / 3
"""How long a caller waits for the challenger; then the release in service answers, and the challenger has failed."""

MOST_STARTS = 3
"""Starts of each worker during a canary, on average, after which it ends. One is a restart of the service."""

SLOWER = 1.5
SLOWER_SECONDS = 0.01
"""A request counts as slower if it takes ``SLOWER`` times as long, and this much longer."""

log = logging.getLogger("entityclip.canary")
Results = list[Hit] | list[Tag]
Outcome = Literal["answered", "failed"]


class CanaryWorker:
    """Answers requests with the challenger and compares; several threads may use it.

    Args:
        state: State folder of the service.
    """

    def __init__(self, state: StateLayout) -> None:
        self.state, self.record = state, CanaryRecord(state.canaries)
        self._over = ""  # id of a canary that ended; its decision may not have been applied here
        self._places = threading.BoundedSemaphore(WAITING)  # of requests that are or will be in ``_waiting``
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._counts: Counter[tuple[str, str]] = Counter()  # id of the canary, name of the count
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(settings.MAX_CONCURRENCY, "canary")
        self._thread: threading.Thread | None = None

    def started(self, plan: Canary) -> None:
        """Count the start of this worker before it loads a release; too many mean that the challenger ends them."""
        try:
            report = self.record.add(plan.id, {"starts": 1})
        except DataError as error:  # what cannot be counted could end this worker forever
            canary.end(self.state, plan.id, "rolled back", str(error))
            return
        if report is not None and report.starts > MOST_STARTS * settings.WORKERS:
            reason = f"workers started {report.starts} times while it ran; look for their end in the service's log"
            canary.end(self.state, plan.id, "rolled back", reason)

    def takes(self, plan: Canary, caller: str) -> bool:
        """Whether this caller's request is for the challenger."""
        return plan.id != self._over and plan.includes(caller) and datetime.now(UTC) < plan.until

    def answer(
        self,
        query: Callable[[LoadedRelease], Found],
        *,
        plan: Canary,
        champion: LoadedRelease,
        challenger: LoadedRelease,
        stage: metrics.Stage,
    ) -> tuple[LoadedRelease, Found]:
        """The challenger and its answer, or those of the champion if the challenger fails."""

        def timed() -> tuple[Found, float]:
            started = time.perf_counter()
            with metrics.timed(stage):
                return query(challenger), time.perf_counter() - started

        compared = self._place()  # before the outcome is known
        try:
            answer, seconds = self._pool.submit(timed).result(timeout=DEADLINE_SECONDS)
        except Exception as error:  # a challenger may fail in any way
            try:
                fallback = query(champion)
            except BaseException:  # the request is at fault, which counts for neither
                if compared:
                    self._places.release()
                raise
            log.warning("the challenger %s failed: %s: %s", challenger.version, type(error).__name__, error)
            self._count(plan, "failed", compare=(lambda: {"errors": 1}) if compared else None)
            return champion, fallback
        compare = (lambda: _differences(lambda: query(champion), answer, seconds)) if compared else None
        self._count(plan, "answered", compare=compare)
        return challenger, answer

    def judged(self, plan: Canary, feedback: Feedback, *, arm: Arm) -> None:
        """Count a judgement of an answer of the challenger, or of the release in service."""
        try:
            self.record.judge(plan.id, feedback, arm=arm)
        except DataError as error:  # the judgement itself is stored
            log.error("a judgement was not counted in the canary: %s", error)
        if self._place():  # else the thread is busy and evaluates it with its next step
            self._enqueue(plan, dict)

    # ------------------------------------------------------------ in the background
    def _place(self) -> bool:
        return self._places.acquire(blocking=False)

    def _count(self, plan: Canary, outcome: Outcome, *, compare: Callable[[], dict[str, int]] | None) -> None:
        """Count a request and, in a place that was taken for it, compare it."""
        metrics.canaried(outcome)
        with self._lock:
            self._counts[plan.id, outcome] += 1
            if compare is None:
                metrics.canaried("dropped")
                self._counts[plan.id, "dropped"] += 1
        if compare is not None:
            self._enqueue(plan, compare)

    def _enqueue(self, plan: Canary, compare: Callable[[], dict[str, int]]) -> None:
        """Compare later, in the order of arrival, and give the place back."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="canary", daemon=True)
                self._thread.start()

        def step() -> None:
            try:
                if plan.id != self._over:
                    self._observe(plan, compare())
            finally:
                self._places.release()
            self._flush(plan)

        self._waiting.put(step)

    def _work(self) -> None:
        while True:
            try:
                self._waiting.get()()  # no name: it would keep the challenger in memory until the next step
            except Exception:  # this thread must survive; without counts, the challenger is not activated
                log.exception("a comparison of the canary was not recorded")

    def _observe(self, plan: Canary, differences: dict[str, int]) -> None:
        with self._lock:
            for name, difference in differences.items():
                self._counts[plan.id, f"{name}.{('same', 'worse', 'better')[difference]}"] += 1

    def _flush(self, plan: Canary) -> None:
        """Add this worker's counts to the record, and end the canary if the sums show harm."""
        with self._lock:
            counts = {name: count for (canary_id, name), count in self._counts.items() if canary_id == plan.id}
            for name in counts:
                del self._counts[plan.id, name]
        try:
            report = self.record.add(plan.id, counts)
        except DataError as error:  # what cannot be recorded cannot be compared
            self._over = plan.id
            canary.end(self.state, plan.id, "rolled back", str(error))
            return
        over = report is None or report.outcome is not None
        alarm = "" if report is None else report.alarm()
        if over or alarm:
            self._over = plan.id
            canary.end(self.state, plan.id, "rolled back", alarm or "its record is missing")


def _differences(query: Callable[[], Results], answer: Results, seconds: float) -> dict[str, int]:
    """Comparison -> 1 if the challenger was worse than the release in service, -1 if it was better, else 0.

    Args:
        query: Sends the request to the release in service.
        answer: The challenger's answer.
        seconds: The challenger's time.
    """
    started = time.perf_counter()
    try:
        other = query()
    except Exception:  # the challenger answered what the release in service cannot
        return {"errors": -1}
    took = time.perf_counter() - started
    slower = seconds > SLOWER * took and seconds > took + SLOWER_SECONDS
    found = {"errors": 0, "latency": int(slower)}
    if any(isinstance(one, Tag) for one in (*answer, *other)):
        found["unknown"] = _is_unknown(answer) - _is_unknown(other)
    return found


def _is_unknown(found: Results) -> bool:
    return not any(isinstance(one, Tag) and one.above_threshold for one in found)
