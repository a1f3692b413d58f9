"""How often, and how many at once: one allowance per key, in the memory of one worker."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from bentos.middleware.keys import Key

BURST_SECONDS = 10
"""What a key did not use in the last seconds it may use at once."""


class Refused(Exception):
    """A limit is reached; ``after`` seconds from now it is worth to ask again."""

    def __init__(self, reason: str, *, after: float) -> None:
        super().__init__(reason)
        self.reason, self.after = reason, after


@dataclass
class Allowance:
    """What one key has left: a bucket that fills by the second, and the requests in work."""

    tokens: float
    filled: float = field(default_factory=time.monotonic)
    in_work: int = 0

    def take(self, *, per_second: float, most: float) -> float:
        """Take one request out of the bucket; 0.0, or the seconds until there is one to take."""
        now = time.monotonic()
        self.tokens = min(most, self.tokens + (now - self.filled) * per_second)
        self.filled = now
        if self.tokens < 1:
            return (1 - self.tokens) / per_second
        self.tokens -= 1
        return 0.0


class Limits:
    """The allowances of all keys that asked this worker; each of ``workers`` grants its share of every rate.

    ``at_once`` is not shared out: connections spread unevenly, and callers would be refused far below their number.
    """

    def __init__(self, *, workers: int = 1) -> None:
        self.workers = workers
        self._of: dict[str, Allowance] = {}

    def enter(self, key: Key) -> Allowance:
        """Count a request in; the caller lowers ``in_work`` when it is done.

        Raises:
            Refused: The key asks too often, or has too many requests in work.
        """
        per_second = key.per_minute / 60 / self.workers
        most = max(1.0, per_second * BURST_SECONDS)
        allowance = self._of.setdefault(key.id, Allowance(tokens=most))
        if allowance.in_work >= key.at_once:
            raise Refused(f"{key.at_once} requests of this key are in work already; wait for one to end", after=1)
        if wait := allowance.take(per_second=per_second, most=most):
            raise Refused(f"this key may ask {key.per_minute} times a minute", after=wait)
        allowance.in_work += 1
        return allowance
