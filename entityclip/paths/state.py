"""The folder that a running service keeps across restarts and shares among its workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StateLayout:
    """Paths of one service's state; everything in it may be backed up, nothing in it is part of a release."""

    root: Path

    @property
    def keys(self) -> Path:
        """API keys, hashed, as JSON; the service looks at it every second."""
        return self.root / "keys.json"

    @property
    def live(self) -> Path:
        """Which release answers, which one it replaced, and which one shadows it, as JSON."""
        return self.root / "live.json"

    @property
    def followers(self) -> Path:
        """What every running worker has made of the decision in ``live``."""
        return self.root / "followers"

    @property
    def feedback(self) -> Path:
        """What people confirmed or corrected, SQLite."""
        return self.root / "feedback.sqlite"

    @property
    def samples(self) -> Path:
        """What the service was shown, in figures, SQLite: for the watch over drift."""
        return self.root / "samples.sqlite"

    @property
    def shadow(self) -> Path:
        """How the answers of the shadowing release differ, one JSON object a line."""
        return self.root / "shadow.jsonl"

    @property
    def entities(self) -> Path:
        """Entities that were added, changed or removed while the service ran."""
        return self.root / "entities"
