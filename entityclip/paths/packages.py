"""What is served: packages, and the BentoML stores that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from entityclip.paths.artifacts import CheckpointLayout, IndexLayout


@dataclass(frozen=True)
class PackageLayout:
    """Files that a service loads: the model and its indexes."""

    root: Path

    @property
    def checkpoint(self) -> CheckpointLayout:
        """Weights and card, at the top of the package."""
        return CheckpointLayout(self.root)

    @property
    def entities(self) -> IndexLayout:
        """The entity index."""
        return IndexLayout(self.root / "index" / "entities")

    @property
    def pictures(self) -> IndexLayout:
        """The picture index; optional."""
        return IndexLayout(self.root / "index" / "pictures")

    @property
    def text(self) -> Path:
        """Names, codes and full text of both indexes, SQLite."""
        return self.root / "index" / "text.sqlite"

    @property
    def labels(self) -> Path:
        """Words on the labels of the entities' own pictures, Parquet; optional."""
        return self.root / "index" / "labels.parquet"

    @property
    def thumbnails(self) -> Path:
        """Small copies of some photographs, SQLite; optional."""
        return self.root / "thumbnails.sqlite"

    @property
    def release(self) -> Path:
        """PackageCard as JSON: the release that the package was made from."""
        return self.root / "release.json"

    @property
    def manifest(self) -> Path:
        """The hash of every other file, written last."""
        return self.root / "manifest.json"

    @property
    def signature(self) -> Path:
        """Signature of all files, beside the folder."""
        return self.root.with_name(f"{self.root.name}.sig")

    @property
    def requirements(self) -> Path:
        """What the service was tested with: ``name==version`` with hashes, for ``pip install --require-hashes``."""
        return self.root / "requirements.txt"

    @property
    def model_card(self) -> Path:
        """What the model is for and how good it is, for people; Markdown."""
        return self.root / "MODEL_CARD.md"

    @property
    def data_card(self) -> Path:
        """What the data hold, for people; Markdown."""
        return self.root / "DATA_CARD.md"

    @property
    def technical_documentation(self) -> Path:
        """In the order of Annex IV of the EU AI Act, for people; Markdown."""
        return self.root / "ANNEX_IV.md"

    @property
    def sbom(self) -> Path:
        """Software bill of materials, CycloneDX JSON."""
        return self.root / "sbom.cdx.json"

    @property
    def provenance(self) -> Path:
        """What the model was trained from, with which settings and where; an in-toto statement, JSON."""
        return self.root / "provenance.intoto.json"

    @property
    def reports(self) -> Path:
        """The release's quality, evaluation and promotion records."""
        return self.root / "reports"


@dataclass(frozen=True)
class StoreLayout:
    """One BentoML store (``BENTOML_HOME``), and the build files beside it. ``version`` is a release's, like v1.0.0."""

    root: Path

    def bento(self, version: str) -> Path:
        """The Bento ``entityclip-service:VERSION``, where BentoML puts it."""
        return self.root / "bentos" / "entityclip-service" / version

    def bento_sources(self, version: str) -> Path:
        """The sources in the Bento, where BentoML puts them."""
        return self.bento(version) / "src"

    def model(self, version: str) -> PackageLayout:
        """The BentoML model that the Bento serves."""
        return PackageLayout(self.root / "models" / "entityclip-model" / version)

    @property
    def lock(self) -> Path:
        """Held by the one process that builds in this store."""
        return self.root / "build.lock"

    def building(self, version: str) -> Path:
        """Scratch folder of a build; leftovers of a killed build are deleted."""
        return self.root / "building" / version

    def sources(self, version: str) -> Path:
        """Scratch: the sources that go into the Bento."""
        return self.building(version) / "sources"

    def package(self, version: str) -> PackageLayout:
        """Scratch: the package that becomes the BentoML model."""
        return PackageLayout(self.building(version) / "package")

    def receipt(self, version: str) -> Path:
        """Hash of every file of the Bento and its model, written last; marks the build as complete."""
        return self.root / "receipts" / f"{version}.json"

    def example(self, version: str, *, suffix: str) -> Path:
        """An example picture for the service."""
        return self.root / "examples" / f"{version}{suffix}"

    def log(self, version: str) -> Path:
        """Output of the server during its smoke test."""
        return self.root / "smoke" / f"{version}.log"

    def metrics(self, server: str) -> Path:
        """Metrics of one running server's workers, which only they write."""
        return self.root / "metrics" / server


@dataclass(frozen=True)
class DeviceLayout:
    """A device package: towers, vectors and the runner, in one flat folder."""

    root: Path

    @property
    def card(self) -> Path:
        """Settings and the hash of every other file that the runner reads."""
        return self.root / "device.json"

    def tower(self, name: str) -> Path:
        """The exported tower ``image`` or ``text``."""
        return self.root / f"{name}.onnx"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer, in the format of the library tokenizers."""
        return self.root / "tokenizer.json"

    @property
    def entities(self) -> Path:
        """Names, categories and explanations."""
        return self.root / "entities.json"

    @property
    def vectors(self) -> Path:
        """Arrays with a row for each entity."""
        return self.root / "vectors.npz"

    @property
    def runner(self) -> Path:
        """The program."""
        return self.root / "runner.py"

    @property
    def requirements(self) -> Path:
        """The three libraries, in the versions that the folder was made with."""
        return self.root / "requirements.txt"

    @property
    def readme(self) -> Path:
        """How to use it, and what it takes."""
        return self.root / "README.md"

    @property
    def scratch(self) -> Path:
        """Files of the tokenizer while the folder is written."""
        return self.root / "tokenizer"
