"""Records of compression: whether an exported runtime of a release ships."""

from __future__ import annotations

from pydantic import Field

from entityclip.schemas.base import Record


class RuntimeChange(Record):
    """Change of R@1 from PyTorch to another runtime on the same queries, in points."""

    slice: str
    points: float
    low: float = Field(description="Lower end of the 95 % interval.")
    high: float
    queries: int


class RuntimeDecision(Record):
    """Whether an exported runtime ships with the release, and why."""

    ships: bool
    reasons: tuple[str, ...]
    budget: float = Field(description="Points of R@1 that it was allowed to lose.")
    changes: tuple[RuntimeChange, ...] = Field(description="By slice; empty where it could not be measured.")
