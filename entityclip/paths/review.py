"""The folder that goes to a person and comes back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReviewLayout:
    """Texts that wait for a person's decision."""

    root: Path

    @property
    def sheet(self) -> Path:
        """One row a text, for any spreadsheet: the person fills in what was decided. CSV."""
        return self.root / "review.csv"

    @property
    def page(self) -> Path:
        """The same texts with pictures of what they are about, HTML."""
        return self.root / "review.html"

    @property
    def texts(self) -> Path:
        """The texts as they were handed out, JSON; written last. The sheet is held against it when it comes back."""
        return self.root / "texts.json"
