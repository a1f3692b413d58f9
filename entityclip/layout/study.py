"""The folder of a search for better settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from entityclip.layout.parts import DataLayout, DecodedLayout, RunLayout


@dataclass(frozen=True)
class StudyLayout:
    """What a search for better settings leaves behind."""

    root: Path

    @property
    def storage(self) -> Path:
        """Every trial, Optuna's SQLite: what a killed search goes on from."""
        return self.root / "trials.sqlite"

    @property
    def lock(self) -> Path:
        """Held by the one search that is at work here."""
        return self.root / ".lock"

    def data(self, least_quality: float) -> DataLayout:
        """The data without the explanations whose quality is lower; pictures and entities are links."""
        return DataLayout(self.root / "data" / f"{least_quality:g}")

    def run(self, key: str) -> RunLayout:
        """One training run; its weights are gone once it has its score."""
        return RunLayout(self.root / "runs" / key)

    def score(self, key: str) -> Path:
        """Score of that run, as JSON."""
        return self.root / "runs" / f"{key}.json"

    @property
    def decoded(self) -> DecodedLayout:
        """Decoded pictures that all trials share."""
        return DecodedLayout(self.root / "decoded")

    @property
    def best(self) -> Path:
        """The best trial's training settings as JSON."""
        return self.root / "best.json"

    @property
    def table(self) -> Path:
        """All trials, CSV."""
        return self.root / "trials.csv"

    @property
    def plot(self) -> Path:
        """All trials, SVG."""
        return self.root / "trials.svg"
