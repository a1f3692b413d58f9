"""Duration of each stage of a run, and whether it was reused: for the log, the report and the summary."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from entityclip.reports.run_report import StageFact
from flows.platform.telemetry import step


class StageTimer:
    """Times the stages of one flow, in order."""

    def __init__(self) -> None:
        self._facts: list[StageFact] = []
        self.reason = ""

    @property
    def facts(self) -> tuple[StageFact, ...]:
        """Every stage so far."""
        return tuple(self._facts)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage. Set ``reason`` inside to mark it as reused."""
        self.reason, started = "", time.monotonic()
        with step(name) as observed:
            yield
            observed.reason = self.reason
        seconds = time.monotonic() - started
        self._facts.append(StageFact(name=name, seconds=seconds, reused=bool(self.reason), reason=self.reason))

    def reused(self, names: tuple[str, ...], reason: str) -> tuple[StageFact, ...]:
        """The stages so far, then ``names`` as reused for one reason."""
        for name in names:
            with self.stage(name):
                self.reason = reason
        return self.facts
