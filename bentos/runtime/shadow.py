"""The shadow: a challenger answers a share of what the champion answers, and the difference is written down.

Nothing of it reaches a caller: it runs after the answer, in one thread, behind a short queue that drops what it cannot
keep up with. Nothing of the request is written, only how the answers differ.
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
"""Where the record ends, about 300,000 comparisons: delete it, or move it away, and it goes on."""

log = logging.getLogger("entityclip.shadow")

Answer = Sequence[Hit] | Sequence[Tag]


class Shadow:
    """Asks the challenger and records the comparison in ``path``, one JSON object a line."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._waiting: queue.Queue[Callable[[], None]] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None

    def offer(self, question: Callable[[], Answer], answer: Answer, *, versions: tuple[str, str], share: float) -> None:
        """Perhaps ask the challenger too; returns at once.

        Args:
            question: Asks the challenger.
            answer: What the champion said.
            versions: Of champion and challenger.
            share: Of the offers that are taken, 0 to 1.
        """
        if self.path is None or random.random() >= share:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(lambda: self._compare(question, answer, versions))
        except queue.Full:
            metrics.shadowed("dropped")

    def _work(self) -> None:
        while True:
            compare = self._waiting.get()
            try:
                compare()
            except Exception:  # whatever the challenger does, the champion must not notice
                metrics.shadowed("failed")
                log.exception("the shadowing release could not answer")

    def _compare(self, question: Callable[[], Answer], answer: Answer, versions: tuple[str, str]) -> None:
        started = time.perf_counter()
        other = question()
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
        with self.path.open("a", encoding="utf-8") as file:  # one short line at a time is whole, from any worker
            file.write(json.dumps(comparison) + "\n")
