"""Rate and concurrency limits per key, in the memory of one worker."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from bentos.middleware.keys import Key

BURST_SECONDS = 10
"""Length of the window whose unused requests a burst may use."""


class Refused(Exception):
    """A limit is reached; retry after ``after`` seconds."""

    def __init__(self, reason: str, *, after: float) -> None:
        super().__init__(reason)
        self.reason, self.after = reason, after


@dataclass
class Allowance:
    """State of one key: a token bucket and the number of requests in work."""

    tokens: float
    filled: float = field(default_factory=time.monotonic)
    in_work: int = 0

    def take(self, *, per_second: float, most: float) -> float:
        """Take one token. Returns 0.0, or the seconds until a token is available."""
        now = time.monotonic()
        self.tokens = min(most, self.tokens + (now - self.filled) * per_second)
        self.filled = now
        if self.tokens < 1:
            return (1 - self.tokens) / per_second
        self.tokens -= 1
        return 0.0


class Limits:
    """Limits of all keys in this worker, which grants its share (1 / ``workers``) of each rate.

    ``max_concurrency`` is not divided: connections spread unevenly over workers, and callers would be refused too soon.
    """

    def __init__(self, *, workers: int = 1) -> None:
        self.workers = workers
        self._of: dict[str, Allowance] = {}

    def enter(self, key: Key) -> Allowance:
        """Register a request. The caller decrements ``in_work`` when it is done.

        Raises:
            Refused: The key exceeds its rate, or has too many requests in work.
        """
        per_second = key.per_minute / 60 / self.workers
        most = max(1.0, per_second * BURST_SECONDS)
        allowance = self._of.setdefault(key.id, Allowance(tokens=most))
        if allowance.in_work >= key.max_concurrency:
            raise Refused(f"this key already has {key.max_concurrency} requests in work; wait for one to end", after=1)
        if wait := allowance.take(per_second=per_second, most=most):
            raise Refused(f"this key is limited to {key.per_minute} requests per minute", after=wait)
        allowance.in_work += 1
        return allowance
