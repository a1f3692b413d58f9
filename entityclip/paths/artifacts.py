"""What stages produce: data versions, checkpoints, indexes and training runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


def attributes_beside(suites: Path) -> Path:
    """The words that state an attribute, YAML, where the folder of the suites has its own."""
    return suites / "gx" / "attributes.yaml"


def claims_beside(quarantine: Path) -> Path:
    """The checked claims of the batch that a quarantine file is about, Parquet."""
    return quarantine.with_name("claims.parquet")


@dataclass(frozen=True)
class DataLayout:
    """One version of the data: ``data/`` itself, or a copy of it in staging."""

    root: Path

    @property
    def pairs(self) -> Path:
        """Folder of ``{split}-{i:05d}-of-{n:05d}.parquet``; readable by Hugging Face ``datasets``."""
        return self.root / "pairs"

    @property
    def entities(self) -> Path:
        """Folder of the entity table's shards."""
        return self.root / "entities"

    @property
    def explanations(self) -> Path:
        """Folder of the explanation table's shards."""
        return self.root / "explanations"

    @property
    def near_duplicates(self) -> Path:
        """Folder of the table of pictures that resemble each other; data versions of before have none."""
        return self.root / "near_duplicates"

    @property
    def labels(self) -> Path:
        """Folder of the table of what was read on pictures; only where ``labels.read_at_ingest`` is set."""
        return self.root / "labels"

    @property
    def source_provided(self) -> Path:
        """Staging only: folder of the texts that the source provides, before the gate."""
        return self.root / "source_provided"

    @property
    def rejected(self) -> Path:
        """Single commands only: rows that the source could not use, with reasons."""
        return self.root / "rejected.csv"

    @property
    def marker(self) -> Path:
        """Written last; a folder without it is incomplete and never read."""
        return self.root / "complete.json"


@dataclass(frozen=True)
class CheckpointLayout:
    """A checkpoint folder: weights and text files, then the card, written last."""

    root: Path

    @property
    def weights(self) -> Path:
        """Model weights, safetensors."""
        return self.root / "model.safetensors"

    @property
    def card(self) -> Path:
        """CheckpointCard as JSON; marks the checkpoint as complete."""
        return self.root / "card.json"

    @property
    def text(self) -> Path:
        """Files of a Hugging Face text encoder and tokenizer; absent with open_clip's own text encoder."""
        return self.root / "text"

    @property
    def exported(self) -> ExportedLayout:
        """The encoders for ONNX Runtime; absent until they are exported."""
        return ExportedLayout(self.root / "onnx")


@dataclass(frozen=True)
class ExportedLayout:
    """The encoders of one checkpoint for ONNX Runtime, then the card, written last."""

    root: Path

    def tower(self, tower: str, *, runtime: str) -> Path:
        """The ``image`` or ``text`` encoder of ``runtime``; ``distilled`` reads texts with that of ``onnx``."""
        kinds = {"onnx-int8": "int8", "distilled": "distilled" if tower == "image" else "fp32"}
        return self.root / f"{tower}.{kinds.get(runtime, 'fp32')}.onnx"

    @property
    def towers(self) -> list[Path]:
        """All encoders that are there."""
        return sorted(self.root.glob("*.onnx"))

    @property
    def card(self) -> Path:
        """ExportCard as JSON; marks the files as complete."""
        return self.root / "export.json"


@dataclass(frozen=True)
class DecodedLayout:
    """Cache of what training computes once: decoded pictures, features, kernels; may be deleted at any time."""

    root: Path

    def squares(self, split: str, *, side: int, key: str) -> Path:
        """All squares of one split, .npy; ``key`` is the hash of the pictures and of the code that decoded them."""
        return self.root / f"{split}-{side}-{key}.npy"

    def stale(self, split: str, *, side: int) -> list[Path]:
        """Leftovers of earlier data or code, or of a killed run, for this split and side."""
        return [*self.root.glob(f"{split}-{side}-*.npy"), *self.root.glob(f".{split}-{side}-*.partial")]

    def lock(self, split: str, *, side: int) -> Path:
        """Held by the one process that decodes."""
        return self.root / f".{split}-{side}.lock"

    def features(self, key: str, pictures: str, *, blocks: int, view: int) -> Path:
        """What the first ``blocks`` blocks of an image tower made of one view of the training pictures, .npy.

        ``key`` is the hash of weights and preparation, ``pictures`` that of the pictures.
        """
        return self.root / f"features-{key}-{pictures}-{blocks}-{view}.npy"

    def feature_rows(self, key: str, pictures: str) -> Path:
        """The hash of the picture in each row of these features, a line each."""
        return self.root / f"features-{key}-{pictures}.txt"

    def former_features(self, key: str, pictures: str) -> list[str]:
        """The hashes of other pictures with features of the same ``key``, the newest first."""
        files = sorted(self.root.glob(f"features-{key}-*.txt"), key=lambda path: -path.stat().st_mtime_ns)
        return [found for path in files if (found := path.stem.rpartition("-")[2]) != pictures]

    def stale_features(self, key: str, pictures: str = "") -> list[Path]:
        """Features of other keys, or also of other ``pictures``, and leftovers of a killed run."""
        wanted = f"features-{key}-{pictures}"
        files = [path for path in self.root.glob("features-*") if not path.name.startswith(wanted)]
        return [*files, *self.root.glob(".features-*.partial")]

    @property
    def kernels(self) -> Path:
        """Compiled kernels of the towers, as PyTorch keeps them."""
        return self.root / "kernels"

    @property
    def features_lock(self) -> Path:
        """Held by the one process that computes features."""
        return self.root / ".features.lock"


@dataclass(frozen=True)
class IndexLayout:
    """A saved index: vectors and rows, then the card, written last."""

    root: Path

    @property
    def vectors(self) -> Path:
        """Unit vectors, safetensors."""
        return self.root / "vectors.safetensors"

    @property
    def rows(self) -> Path:
        """The entity or picture of each vector, Parquet, in the same order."""
        return self.root / "rows.parquet"

    @property
    def approximate(self) -> Path:
        """Approximate index of the vectors (faiss); only for indexes too large for exact search."""
        return self.root / "approximate.faiss"

    @property
    def card(self) -> Path:
        """Fingerprint of the model that made the vectors; marks the index as complete."""
        return self.root / "index.json"


@dataclass(frozen=True)
class ChangesLayout:
    """Entities that were added, changed or removed while a service ran; on a local disk shared by its processes."""

    root: Path

    @property
    def database(self) -> Path:
        """Entries, pictures, vectors and full text, SQLite."""
        return self.root / "entities.sqlite"


@dataclass(frozen=True)
class RunLayout:
    """All files of one training run."""

    root: Path

    @property
    def key(self) -> Path:
        """Single commands only: hash of the data, config and code that the folder belongs to."""
        return self.root / "key.txt"

    @property
    def checkpoint(self) -> CheckpointLayout:
        """The final checkpoint."""
        return CheckpointLayout(self.root / "checkpoint")

    @property
    def teacher(self) -> CheckpointLayout:
        """With a distillation: the trained model that the final checkpoint's image tower learned from."""
        return CheckpointLayout(self.root / "teacher")

    @property
    def resume(self) -> Path:
        """Resume state: weights, optimizer moments, position; safetensors, deleted when the run is complete."""
        return self.root / "resume.safetensors"

    @property
    def best(self) -> Path:
        """Weights of the epoch with the lowest validation loss; safetensors, deleted when the run is complete."""
        return self.root / "best.safetensors"

    @property
    def start(self) -> Path:
        """Weights before the towers began to learn, for interpolation; deleted when the run is complete."""
        return self.root / "start.safetensors"

    @property
    def plan(self) -> Path:
        """How a budget of minutes is spent, as JSON: written before the first step, and kept by a resumed run."""
        return self.root / "plan.json"

    @property
    def tokenizer(self) -> Path:
        """Files of a tokenizer learned from the run's texts; the checkpoint holds a copy."""
        return self.root / "tokenizer"

    @property
    def decoded(self) -> DecodedLayout:
        """Single commands only: the training pictures, decoded."""
        return DecodedLayout(self.root / "decoded")

    @property
    def live(self) -> Path:
        """DVCLive's metrics and plots."""
        return self.root / "live"

    @property
    def evaluation(self) -> Path:
        """EvalReport as JSON."""
        return self.root / "evaluation.json"

    @property
    def queries(self) -> Path:
        """Rank of the true entity for every query, Parquet."""
        return self.root / "queries.parquet"

    @property
    def measured(self) -> Path:
        """Experiments only: figures and cost as JSON, written last; a run that has them is not repeated."""
        return self.root / "measured.json"

    @property
    def decision(self) -> Path:
        """PromotionDecision about this run's model, as JSON."""
        return self.root / "decision.json"

    @property
    def report(self) -> Path:
        """The report, HTML."""
        return self.root / "report.html"
