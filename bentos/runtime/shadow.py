"""Shadowing: a challenger gets a share of the champion's queries, and the differences are recorded.

Callers never see the challenger's answers. It runs after the response, in one thread behind a short queue that drops
requests when it is full. Only the differences are recorded, nothing of the request.
"""

from __future__ import annotations

import json
import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bentos.runtime import metrics
from entityclip.schemas import Hit, Tag
from entityclip.storage import private_file, private_folder

WAITING = 16
MOST_BYTES = 64 * 2**20
"""Size limit of the record, about 300,000 comparisons. Delete or move the file to continue recording."""

log = logging.getLogger("entityclip.shadow")

Results = Sequence[Hit] | Sequence[Tag]


class Shadow:
    """Queries the challenger and records the comparison in ``path``, one JSON object per line."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._waiting: queue.Queue[Callable[[], None]] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None

    def offer(self, query: Callable[[], Results], answer: Results, *, versions: tuple[str, str], share: float) -> None:
        """Send the query to the challenger with probability ``share``; returns immediately.

        Args:
            query: Runs the query on the challenger.
            answer: The champion's answer.
            versions: Versions of champion and challenger.
            share: Share of the queries to compare, 0 to 1.
        """
        if self.path is None or random.random() >= share:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(lambda: self._compare(query, answer, versions))
        except queue.Full:
            metrics.shadowed("dropped")

    def _work(self) -> None:
        while True:
            compare = self._waiting.get()
            try:
                compare()
            except Exception:  # a failure of the challenger must not affect the champion
                metrics.shadowed("failed")
                log.exception("the shadowing release failed")

    def _compare(self, query: Callable[[], Results], answer: Results, versions: tuple[str, str]) -> None:
        started = time.perf_counter()
        other = query()
        names, others = [found.entity_id for found in answer], [found.entity_id for found in other]
        same = names[:1] == others[:1]
        metrics.shadowed("same" if same else "other")
        self._write(
            {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "champion": versions[0],
                "challenger": versions[1],
                "same_first": same,
                "shared": len(set(names) & set(others)),
                "of": max(len(set(names)), len(set(others))),
                "first": [names[:1], others[:1]],
                "scores": [[found.score for found in those[:1]] for those in (answer, other)],
                "challenger_ms": round(1000 * (time.perf_counter() - started), 1),
            }
        )

    def _write(self, comparison: dict[str, object]) -> None:
        assert self.path is not None
        if self.path.exists() and self.path.stat().st_size > MOST_BYTES:
            return
        private_folder(self.path.parent)
        private_file(self.path)
        with self.path.open("a", encoding="utf-8") as file:  # one short line per write is atomic across workers
            file.write(json.dumps(comparison) + "\n")
