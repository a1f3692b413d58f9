"""The folders of experiments: hyperparameter search, ablation, gate report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from entityclip.paths.artifacts import DataLayout, DecodedLayout, RunLayout


@dataclass(frozen=True)
class StudyLayout:
    """Files of a hyperparameter search."""

    root: Path

    @property
    def storage(self) -> Path:
        """All trials, Optuna's SQLite; a killed search resumes from it."""
        return self.root / "trials.sqlite"

    @property
    def lock(self) -> Path:
        """Held by the one search that runs here."""
        return self.root / ".lock"

    def data(self, min_quality: float) -> DataLayout:
        """The data without the explanations whose quality is lower; pictures and entities are links."""
        return DataLayout(self.root / "data" / f"{min_quality:g}")

    def run(self, key: str) -> RunLayout:
        """One training run; its weights are deleted once it has a score."""
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


@dataclass(frozen=True)
class AblationLayout:
    """Files of an ablation."""

    root: Path

    @property
    def table(self) -> Path:
        """The summary, Markdown."""
        return self.root / "ablation.md"

    @property
    def cells(self) -> Path:
        """Every figure of every run, CSV."""
        return self.root / "ablation.csv"

    @property
    def effects(self) -> Path:
        """The difference that each part makes, with intervals, CSV."""
        return self.root / "effects.csv"

    @property
    def plot(self) -> Path:
        """The summary as a picture, SVG."""
        return self.root / "ablation.svg"

    def data(self, name: str) -> DataLayout:
        """The data of a run whose explanations are swapped."""
        return DataLayout(self.root / "data" / name)

    def run(self, name: str, *, key: str) -> RunLayout:
        """One training."""
        return RunLayout(self.root / "runs" / f"{name}-{key}")

    @property
    def decoded(self) -> DecodedLayout:
        """Decoded pictures that all runs share."""
        return DecodedLayout(self.root / "decoded")


@dataclass(frozen=True)
class LearningCurveLayout:
    """Files of a learning curve."""

    root: Path

    @property
    def curve(self) -> Path:
        """The result: LearningCurve as JSON."""
        return self.root / "learning_curve.json"

    @property
    def plot(self) -> Path:
        """The result as a picture, SVG."""
        return self.root / "learning_curve.svg"

    def data(self, share: str) -> DataLayout:
        """The data with a share of the training pictures."""
        return DataLayout(self.root / "data" / share)

    def run(self, share: str, *, key: str) -> RunLayout:
        """One training."""
        return RunLayout(self.root / "runs" / f"{share}-{key}")

    @property
    def decoded(self) -> DecodedLayout:
        """Decoded pictures that all runs share."""
        return DecodedLayout(self.root / "decoded")


@dataclass(frozen=True)
class GateLayout:
    """Files of a gate report."""

    root: Path

    @property
    def page(self) -> Path:
        """The report, HTML."""
        return self.root / "gate.html"

    @property
    def recall(self) -> Path:
        """Recall by variant of the gate, Markdown."""
        return self.root / "recall.md"

    @property
    def worth(self) -> Path:
        """Points of recall lost without each rule, Markdown."""
        return self.root / "worth.md"

    @property
    def runs(self) -> AblationLayout:
        """The training runs, in the layout of an ablation."""
        return AblationLayout(self.root)


@dataclass(frozen=True)
class DesignsLayout:
    """Files of a comparison of writers."""

    root: Path

    def page(self, language: str) -> Path:
        """The report, HTML."""
        return self.root / f"compare.{language}.html"

    @property
    def figures(self) -> Path:
        """Every figure with its intervals, JSON."""
        return self.root / "compare.json"

    @property
    def texts(self) -> Path:
        """Every text of every design, with what the gate found, CSV."""
        return self.root / "texts.csv"

    @property
    def expectations(self) -> Path:
        """The packaged rules, where the workspace has none."""
        return self.root / "expectations"


@dataclass(frozen=True)
class ValueReportLayout:
    """Files of a value report."""

    root: Path

    def page(self, language: str) -> Path:
        """The report, HTML."""
        return self.root / f"value-report.{language}.html"

    def pdf(self, language: str) -> Path:
        """The same page, printed."""
        return self.root / f"value-report.{language}.pdf"

    @property
    def figures(self) -> Path:
        """ValueReport as JSON: verdict, and every figure with the file and key that it comes from."""
        return self.root / "value-report.json"
