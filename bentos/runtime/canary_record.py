"""Record of all canaries of a service: who got which release, the comparison, and how each one ended.

All workers add their counts to one SQLite file. The comparison depends on sums alone, so it does not matter which
worker evaluates it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from bentos.runtime.feedback import Feedback
from entityclip.evaluation.sequential import evidence
from entityclip.schemas import Record
from entityclip.storage.sqlite import transaction

ALPHA = 0.05
"""Probability of a false alarm, at most: over the paired comparisons of a canary, however often they are evaluated.

Judgements are no part of it: different callers choose what they judge.
"""

MARGINS = {"errors": 0.01, "unknown": 0.02, "latency": 0.5, "feedback": 0.05}
"""Comparison -> difference that is no harm: of shares of requests, or of judgements."""

WHAT = {
    "errors": "requests that the challenger failed and the release in service answered",
    "unknown": "pictures that the challenger did not know and the release in service did",
    "latency": "requests that took the challenger more than 1.5 times as long",
    "feedback": "judgements against the challenger, beside one for the release in service",
}

LIMIT = len(MARGINS) / ALPHA
"""Evidence that ends a canary: each comparison has an equal part of ``ALPHA``."""

MOST_JUDGEMENTS = 20
"""Judgements of one caller that count in one canary."""

LEAST_JUDGES = 2
"""Callers that must have judged the challenger before feedback counts, so that no caller decides alone."""

COUNTED = ("answered", "failed", "dropped", "starts")
"""Counts that ``CanaryReport`` has beside the comparisons."""

Outcome = Literal["activated", "rolled back", "stopped", "replaced"]
Arm = Literal["champion", "challenger"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS canaries (
    id TEXT PRIMARY KEY, began TEXT NOT NULL, until TEXT NOT NULL, champion TEXT NOT NULL, challenger TEXT NOT NULL,
    package TEXT NOT NULL, share REAL NOT NULL, callers TEXT NOT NULL, ended TEXT, outcome TEXT, reason TEXT
);
CREATE TABLE IF NOT EXISTS counts (
    id TEXT NOT NULL, name TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (id, name)
);
CREATE TABLE IF NOT EXISTS judgements (
    number INTEGER PRIMARY KEY AUTOINCREMENT, feedback TEXT UNIQUE NOT NULL, id TEXT NOT NULL, arm TEXT NOT NULL,
    caller TEXT NOT NULL, wrong INTEGER NOT NULL
);
"""


class Comparison(Record):
    """One comparison of the challenger with the release in service."""

    worse: int = 0
    same: int = 0
    better: int = 0
    evidence: float = Field(default=1.0, description="Of harm; ``LIMIT`` ends the canary.")

    @classmethod
    def of(cls, name: str, worse: int, same: int, better: int) -> Comparison:
        """With the evidence for the margin of the comparison ``name``."""
        found = evidence(worse, same, better, margin=MARGINS[name])
        return cls(worse=worse, same=same, better=better, evidence=min(found, 1e300))  # JSON has no infinity

    @property
    def total(self) -> int:
        """Number of observations."""
        return self.worse + self.same + self.better


class CanaryReport(Record):
    """A canary and its figures so far."""

    id: str
    began: datetime
    until: datetime
    champion: str = Field(description="Version of the release in service.")
    challenger: str = Field(description="Version of the challenger.")
    package: Path = Field(description="Folder of the challenger.")
    share: float = Field(description="Share of the callers that was requested.")
    callers: tuple[str, ...] = Field(description="Ids of the keys in the share when it began.")
    ended: datetime | None = None
    outcome: Outcome | None = None
    reason: str | None = None
    answered: int = Field(default=0, description="Requests that the challenger answered.")
    failed: int = Field(default=0, description="Requests that it failed and the release in service answered.")
    dropped: int = Field(default=0, description="Requests that were not compared, because of the load.")
    starts: int = Field(default=0, description="Workers that started while it ran, such as after a crash.")
    comparisons: dict[str, Comparison] = Field(default={}, description="By name, as in ``MARGINS``.")

    @property
    def compared(self) -> int:
        """Requests that were compared."""
        return self.comparisons["errors"].total

    def alarm(self) -> str:
        """Why the challenger is worse; '' if no harm was shown."""
        for name, found in self.comparisons.items():
            if found.evidence >= LIMIT:
                chance = f"false alarms: at most {ALPHA:.0%} of canaries"
                if name == "feedback":
                    chance = "judgements of different callers: reported, not proved"
                return (
                    f"{name}: {found.worse} of {found.total} {WHAT[name]}, {found.better} the other way round; "
                    f"evidence {min(found.evidence, 1e6):,.0f}, limit {LIMIT:.0f} "
                    f"({chance})"
                )
        return ""


class CanaryRecord:
    """The file at ``path``; several processes may use it at the same time.

    Every method raises DataError if the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, report: CanaryReport) -> None:
        """Add a canary. An earlier one that did not end, because no service ran, was replaced."""
        values = report.model_dump(mode="json", exclude={"comparisons", *COUNTED})
        values["callers"] = " ".join(report.callers)
        names, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
        with self._open() as connection:
            connection.execute(
                "UPDATE canaries SET ended = ?, outcome = 'replaced', reason = 'no service ran at its end' "
                "WHERE outcome IS NULL",
                (_now(),),
            )
            connection.execute(f"INSERT INTO canaries ({names}) VALUES ({marks})", values)

    def add(self, canary_id: str, counts: Mapping[str, int]) -> CanaryReport | None:
        """Add counts, such as ``answered`` or ``errors.worse``, and return the sums of all workers."""
        with self._open() as connection:
            connection.executemany(
                "INSERT INTO counts VALUES (?, ?, ?) "
                "ON CONFLICT (id, name) DO UPDATE SET count = count + excluded.count",
                [(canary_id, name, count) for name, count in counts.items()],
            )
        return self.read(canary_id)

    def judge(self, canary_id: str, feedback: Feedback, *, arm: Arm) -> None:
        """Count a judgement of an answer; a duplicate, or one too many of a caller, counts nothing."""
        with self._open() as connection:
            query = "SELECT count(*) FROM judgements WHERE id = ? AND caller = ?"
            if connection.execute(query, (canary_id, feedback.key)).fetchone()[0] < MOST_JUDGEMENTS:
                connection.execute(
                    "INSERT OR IGNORE INTO judgements (feedback, id, arm, caller, wrong) VALUES (?, ?, ?, ?, ?)",
                    (feedback.id, canary_id, arm, feedback.key, feedback.verdict != "right"),
                )

    def end(self, canary_id: str, outcome: Outcome, reason: str) -> bool:
        """Record how the canary ended; False if it had ended before, which stands."""
        with self._open() as connection:
            query = "UPDATE canaries SET ended = ?, outcome = ?, reason = ? WHERE id = ? AND outcome IS NULL"
            return connection.execute(query, (_now(), outcome, reason, canary_id)).rowcount > 0

    def read(self, canary_id: str | None = None) -> CanaryReport | None:
        """The canary with this id, or the last one; None if there is none."""
        if not self.path.exists():
            return None
        where = "WHERE id = :id" if canary_id else "ORDER BY began DESC LIMIT 1"
        with self._open() as connection:
            cursor = connection.execute(f"SELECT * FROM canaries {where}", {"id": canary_id})
            row = cursor.fetchone()
            if row is None:
                return None
            values = dict(zip([column[0] for column in cursor.description], row, strict=True))
            counts = dict(connection.execute("SELECT name, count FROM counts WHERE id = ?", (values["id"],)))
            judged = connection.execute(
                "SELECT arm, wrong, caller FROM judgements WHERE id = ? ORDER BY number", (values["id"],)
            ).fetchall()
        compared = {name: _compared(name, counts) for name in MARGINS if name != "feedback"}
        return CanaryReport(
            **(values | {"callers": tuple(values["callers"].split())}),
            **{name: counts.get(name, 0) for name in COUNTED},
            comparisons=compared | {"feedback": _feedback(judged)},
        )

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection; the block is one transaction."""
        return transaction(self.path, _SCHEMA, name="record of canaries")


def _compared(name: str, counts: Mapping[str, int]) -> Comparison:
    worse, same, better = (counts.get(f"{name}.{which}", 0) for which in ("worse", "same", "better"))
    return Comparison.of(name, worse, same, better)


def _feedback(judged: list[tuple[Arm, int, str]]) -> Comparison:
    """The first judgement of the challenger beside the first of the release in service, and so on."""
    challenger, champion = (
        [(wrong, caller) for arm, wrong, caller in judged if arm == which] for which in ("challenger", "champion")
    )
    if len({caller for _, caller in challenger}) < LEAST_JUDGES:
        return Comparison()
    differences = [a - b for (a, _), (b, _) in zip(challenger, champion, strict=False)]
    return Comparison.of("feedback", *(differences.count(value) for value in (1, 0, -1)))


def _now() -> str:
    return datetime.now(UTC).isoformat()
