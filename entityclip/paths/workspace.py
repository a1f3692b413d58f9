"""The paths of one workspace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from entityclip.paths.artifacts import (
    CheckpointLayout,
    DataLayout,
    DecodedLayout,
    RunLayout,
    attributes_beside,
    claims_beside,
)
from entityclip.paths.experiments import AblationLayout, LearningCurveLayout, ValueReportLayout
from entityclip.paths.service import FeedbackLayout, StateLayout, WatchLayout


@dataclass(frozen=True)
class Layout:
    """Paths of one workspace."""

    root: Path

    # --- tracked: together they are a release
    @property
    def config(self) -> Path:
        """Settings of the workspace, YAML."""
        return self.root / "entityclip.yaml"

    @property
    def source(self) -> Path:
        """The source of the data: WorkspaceSource as JSON."""
        return self.root / "source.json"

    @property
    def criteria(self) -> Path:
        """Criteria of a trial, YAML; committed before the first data."""
        return self.root / "criteria.yaml"

    @property
    def data(self) -> DataLayout:
        """The versioned data, replaced whole."""
        return DataLayout(self.root / "data")

    @property
    def data_dvc(self) -> Path:
        """DVC's pointer to ``data/``."""
        return self.root / "data.dvc"

    @property
    def feedback(self) -> FeedbackLayout:
        """Feedback of users of the service."""
        return FeedbackLayout(self.root / "feedback")

    @property
    def feedback_dvc(self) -> Path:
        """DVC's pointer to ``feedback/``."""
        return self.root / "feedback.dvc"

    @property
    def expectations(self) -> Path:
        """Project root of the Great Expectations file context."""
        return self.root / "expectations"

    @property
    def model(self) -> CheckpointLayout:
        """The weights of the release."""
        return CheckpointLayout(self.root / "model")

    @property
    def model_dvc(self) -> Path:
        """DVC's pointer to ``model/``."""
        return self.root / "model.dvc"

    @property
    def dvc_yaml(self) -> Path:
        """Declares the artifact that GTO's tags version."""
        return self.root / "dvc.yaml"

    @property
    def dvc_folder(self) -> Path:
        """DVC's own folder: its config is tracked, its cache is not."""
        return self.root / ".dvc"

    @property
    def rules(self) -> Path:
        """The part of the Great Expectations context that belongs to a release."""
        return self.expectations / "gx"

    @property
    def pairs_suite(self) -> Path:
        """Rules for pairs, JSON; also lists the refused licences and consents."""
        return self.rules / "expectations" / "pairs.json"

    @property
    def attributes(self) -> Path:
        """Words that state an attribute, YAML, where the workspace has its own."""
        return attributes_beside(self.expectations)

    @property
    def reports(self) -> Path:
        """Quality, evaluation and promotion records of this release, as JSON."""
        return self.root / "reports"

    def report(self, name: str) -> Path:
        """One JSON record beside the release: ``quality``, ``evaluation``, ``promotion`` ..."""
        return self.reports / f"{name}.json"

    def decision(self, key: str) -> Path:
        """One promotion decision; never deleted."""
        return self.reports / "decisions" / f"{key}.json"

    @property
    def decisions(self) -> list[Path]:
        """Every promotion decision so far."""
        return sorted(self.decision("*").parent.glob("*.json"))

    def sealed_look(self, fingerprint: str) -> Path:
        """A promoted model's figures on the sealed split; never deleted."""
        return self.reports / "sealed" / f"{fingerprint[:16]}.json"

    @property
    def sealed_looks(self) -> list[Path]:
        """Every look at the sealed split so far."""
        return sorted(self.sealed_look("*").parent.glob("*.json"))

    def serving_check(self, version: str) -> Path:
        """Whether this release can be served; never deleted."""
        return self.reports / "serving_checks" / f"{version}.json"

    def approval(self, version: str) -> Path:
        """The approval request for this release and its answer; never deleted."""
        return self.reports / "approvals" / f"{version}.json"

    @property
    def erasures(self) -> Path:
        """One record per erasure, JSON, never deleted; without personal data."""
        return self.reports / "erasures"

    @property
    def reviews(self) -> Path:
        """Decisions of reviewers about texts in quarantine, CSV; they hold in every later run."""
        return self.reports / "reviews.csv"

    @property
    def text_quality(self) -> Path:
        """The champion's text-quality model: TextQualityModel as JSON."""
        return self.report("text_quality")

    @property
    def claim_limits(self) -> Path:
        """The champion's limits for claims: ClaimModel as JSON."""
        return self.report("claims")

    @property
    def mined_attributes(self) -> Path:
        """The words by which the champion's claims were found, YAML; a copy in ``attributes`` can be edited."""
        return self.reports / "attributes.yaml"

    @property
    def written_again(self) -> Path:
        """Texts of the last batch that broke a rule, each with its replacement, CSV."""
        return self.reports / "written_again.csv"

    @property
    def corrected(self) -> Path:
        """Texts of the last batch in which the source contradicted a colour, each with its correction, CSV."""
        return self.reports / "corrected.csv"

    # --- paid for, ignored by Git, never deleted
    @property
    def ledger(self) -> Path:
        """Every explanation ever written, SQLite; the only copy of paid answers."""
        return self.root / "ledger.sqlite"

    @property
    def service(self) -> StateLayout:
        """State of the service on this machine: keys, feedback, which release answers."""
        return StateLayout(self.root / ".service")

    # --- work in progress, ignored by Git
    def incoming(self, name: str) -> Path:
        """The next ``data/`` or ``model/``; in the same folder, so that it can be renamed."""
        return self.root / f".{name}.incoming"

    def outgoing(self, name: str) -> Path:
        """The previous ``data/`` or ``model/``, during the replacement."""
        return self.root / f".{name}.outgoing"

    @property
    def lock(self) -> Path:
        """Held by the one run that writes Git or DVC."""
        return self.work / "lock"

    @property
    def unfinished(self) -> Path:
        """Exists while a run writes Git or DVC; left over when the run is killed."""
        return self.work / "unfinished"

    @property
    def work(self) -> Path:
        """Everything that can be recomputed from data, rules and models; may be deleted at any time."""
        return self.root / ".entityclip"

    @property
    def staging(self) -> DataLayout:
        """Pairs on their way from a source to the gate."""
        return DataLayout(self.work / "staging")

    @property
    def accepted(self) -> DataLayout:
        """Rows that passed the gate, before they are versioned."""
        return DataLayout(self.work / "accepted")

    @property
    def staging_quality(self) -> Path:
        """What the gate found in staging: QualityReport as JSON, also where it refused the batch."""
        return self.work / "staging_quality.json"

    @property
    def review_desk(self) -> Path:
        """Who reviews which item at the moment, and every opinion given on the pages; SQLite."""
        return self.work / "review.sqlite"

    @property
    def audit(self) -> Path:
        """Changes that people made on the review pages, JSON lines."""
        return self.work / "audit.jsonl"

    def rejected(self, batch: str) -> Path:
        """Rows of a batch that the source could not use: file, row, reason."""
        return self.work / "batches" / batch / "rejected.csv"

    def checked_claims(self) -> list[Path]:
        """The checked claims of all batches on this machine, oldest first."""
        found = (claims_beside(self.quarantine(batch.name)) for batch in (self.work / "batches").glob("*"))
        return sorted((path for path in found if path.exists()), key=lambda path: path.stat().st_mtime)

    def quarantine(self, batch: str) -> Path:
        """Rows of a batch that broke a critical rule: row, rule, value."""
        return self.work / "batches" / batch / "quarantine.csv"

    def due(self, cause: str) -> Path:
        """A pending reason to retrain."""
        return self.work / "due" / f"{cause}.json"

    def dealt(self, cause: str) -> Path:
        """The last reason of this kind that led to a retraining."""
        return self.work / "due" / f"{cause}.dealt.json"

    def process(self, name: str) -> Path:
        """The process that ``entityclip up`` started under this name; JSON."""
        return self.work / "up" / f"{name}.json"

    def process_log(self, name: str) -> Path:
        """Output of that process."""
        return self.work / "up" / f"{name}.log"

    @property
    def prefect_home(self) -> Path:
        """Database and settings of the Prefect server that ``entityclip up`` started."""
        return self.root / ".prefect"

    @property
    def prefect_auth(self) -> Path:
        """``USER:PASSWORD`` of that server's API; readable only by the owner."""
        return self.prefect_home / "auth"

    @property
    def run_lock(self) -> Path:
        """Held by the one run of the main job in this workspace."""
        return self.work / "running"

    def alive(self, run: str) -> Path:
        """Locked by the process of this run of the main job for as long as it lives."""
        return self.work / "alive" / run

    @property
    def drawn(self) -> Path:
        """The built-in catalogue as files, when it is the source."""
        return self.work / "catalog"

    def fetched(self, name: str) -> Path:
        """A public data set that was downloaded for a source."""
        return self.work / "fetched" / name

    @property
    def decoded(self) -> DecodedLayout:
        """Cache of decoded training pictures, shared by all runs."""
        return DecodedLayout(self.work / "decoded")

    @property
    def labels(self) -> Path:
        """Text that was read on pictures, SQLite."""
        return self.work / "labels.sqlite"

    @property
    def picture_vectors(self) -> Path:
        """Vectors of pictures, by the models of the last run."""
        return self.work / "picture_vectors"

    @property
    def tower_vectors(self) -> Path:
        """Vectors of pictures by pretrained towers, npz: of every picture that the gate ever compared with a text."""
        return self.picture_vectors / "tower"

    @property
    def seeds(self) -> AblationLayout:
        """Trainings with several seeds, for their deviation."""
        return AblationLayout(self.work / "seeds")

    @property
    def learning_curve(self) -> LearningCurveLayout:
        """Trainings on parts of the training pictures."""
        return LearningCurveLayout(self.work / "learning-curve")

    @property
    def value_report(self) -> ValueReportLayout:
        """What the release is worth, for a manager."""
        return ValueReportLayout(self.work / "value")

    @property
    def source_provided_ledger(self) -> Path:
        """Commands without orchestration: texts that the source provides, which cost nothing."""
        return self.work / "source_provided.sqlite"

    @property
    def origin(self) -> Path:
        """Commands without orchestration: hash of the source that ``staging`` was read from, written last."""
        return self.work / "origin"

    def receipt(self, stage: str) -> Path:
        """Inputs and outputs of a stage, with their hashes."""
        return self.work / "receipts" / f"{stage}.json"

    def run(self, key: str) -> RunLayout:
        """One training run; ``key`` is the hash of its data, config and code."""
        return RunLayout(self.work / "runs" / key)

    def release_copy(self, version: str) -> Path:
        """A release's files, restored from Git and DVC."""
        return self.work / "releases" / version

    def log(self, flow: str) -> Path:
        """Log of a flow's runs, JSON lines."""
        return self.work / "logs" / f"{flow}.jsonl"

    def metrics(self, flow: str) -> Path:
        """Metrics of a flow's last run, in Prometheus' text format."""
        return self.work / "metrics" / f"{flow}.prom"

    def watch(self, version: str) -> WatchLayout:
        """Monitoring of one release in service."""
        return WatchLayout(self.work / "watch" / version)

    @property
    def bento_home(self) -> Path:
        """BentoML's local store for this workspace."""
        return self.work / "bentoml"

    @property
    def remote(self) -> Path:
        """The default DVC remote: a folder beside the work. Point DVC to another storage for production."""
        return self.root / ".remote"


def former_ledger(ledger: Path) -> Path:
    """Path of the ledger in workspaces of earlier versions."""
    return Layout(ledger.parent).work / "ledger.sqlite"


def ledger_lock(ledger: Path, *, writer: str) -> Path:
    """Held by the one run that has ``writer``, named by a hash, write into this ledger."""
    return ledger.with_name(f"{ledger.name}.{writer}.lock")
