"""The folder of the watch over one release in service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class WatchLayout:
    """What the watch over one release keeps; may be deleted at any time."""

    root: Path

    @property
    def baseline(self) -> Path:
        """Held-out pictures and the texts of the release's data as its model sees them, Parquet; made once."""
        return self.root / "baseline.parquet"

    @property
    def drift(self) -> Path:
        """DriftReport of the last look, as JSON."""
        return self.root / "drift.json"

    @property
    def page(self) -> Path:
        """The same for people, HTML."""
        return self.root / "drift.html"
