"""The folder of feedback that became rows of the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FeedbackLayout:
    """What people confirmed or corrected, versioned beside the data; reads like any table of pictures."""

    root: Path

    @property
    def judged(self) -> Path:
        """Every judgement that ever came in and what became of it, CSV."""
        return self.root / "judged.csv"

    @property
    def table(self) -> Path:
        """The pictures that go into the next data version, CSV; derived from the judgements."""
        return self.root / "pictures.csv"

    def picture(self, sha256: str) -> Path:
        """A picture as it was sent, named by its hash."""
        return self.root / "pictures" / sha256
