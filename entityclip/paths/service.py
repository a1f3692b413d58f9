"""A running service and what returns from it: state, feedback, reviews, monitoring; and the lock of a device."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StateLayout:
    """State that a service keeps across restarts and shares among its workers; not part of a release."""

    root: Path

    @property
    def keys(self) -> Path:
        """API keys, hashed, as JSON; the service reads it every second."""
        return self.root / "keys.json"

    @property
    def sessions(self) -> Path:
        """Secret that signs the sessions of the pages."""
        return self.root / "sessions.secret"

    @property
    def live(self) -> Path:
        """The active release, the previous one, and the shadow release, as JSON."""
        return self.root / "live.json"

    @property
    def signatures(self) -> Path:
        """Whether packages must be signed, and the trusted public keys, as JSON."""
        return self.root / "signatures.json"

    @property
    def followers(self) -> Path:
        """State of every running worker with regard to ``live``."""
        return self.root / "followers"

    @property
    def feedback(self) -> Path:
        """Feedback of users, SQLite."""
        return self.root / "feedback.sqlite"

    @property
    def samples(self) -> Path:
        """Features of the pictures and texts that the service received, SQLite; for drift monitoring."""
        return self.root / "samples.sqlite"

    @property
    def shadow(self) -> Path:
        """Differences of the shadow release's answers, JSON lines."""
        return self.root / "shadow.jsonl"

    @property
    def canaries(self) -> Path:
        """Every canary: its requests, the comparison, and how it ended; SQLite."""
        return self.root / "canaries.sqlite"

    @property
    def entities(self) -> Path:
        """Entities that were added, changed or removed while the service ran."""
        return self.root / "entities"


@dataclass(frozen=True)
class FeedbackLayout:
    """Feedback of users that became rows of the data, versioned beside it."""

    root: Path

    @property
    def judged(self) -> Path:
        """Every judgement received and its outcome, CSV."""
        return self.root / "judged.csv"

    @property
    def table(self) -> Path:
        """Pictures for the next data version, CSV; derived from the judgements."""
        return self.root / "pictures.csv"

    @property
    def names(self) -> Path:
        """Other names of entities for the next data version, CSV; derived from the judgements."""
        return self.root / "names.csv"

    @property
    def products(self) -> Path:
        """Products that were added, changed or removed in service, each as it is now, CSV."""
        return self.root / "service_products.csv"

    @property
    def product_pictures(self) -> Path:
        """The pictures that were added to them, CSV."""
        return self.root / "service_pictures.csv"

    def picture(self, sha256: str) -> Path:
        """A picture as received, named by its hash."""
        return self.root / "pictures" / sha256


@dataclass(frozen=True)
class ReviewLayout:
    """Texts that wait for a reviewer's decision."""

    root: Path

    @property
    def sheet(self) -> Path:
        """One row per text, for any spreadsheet, where the reviewer fills in decisions; CSV."""
        return self.root / "review.csv"

    @property
    def page(self) -> Path:
        """The same texts with pictures of their entities, HTML."""
        return self.root / "review.html"

    @property
    def texts(self) -> Path:
        """The exported texts, JSON; written last. The import compares the sheet with it."""
        return self.root / "texts.json"


@dataclass(frozen=True)
class WatchLayout:
    """Monitoring of one release; may be deleted at any time."""

    root: Path

    @property
    def baseline(self) -> Path:
        """Features of held-out pictures and of the texts of the release's data, Parquet; computed once."""
        return self.root / "baseline.parquet"

    @property
    def drift(self) -> Path:
        """The last DriftReport, as JSON."""
        return self.root / "drift.json"

    @property
    def page(self) -> Path:
        """The drift report, HTML."""
        return self.root / "drift.html"


def device_lock(device: str) -> Path:
    """Lock file of the one training that runs on this device, such as ``cpu`` or ``cuda-0``.

    ``ENTITYCLIP_LEASES`` names another folder, such as one that all users of the machine can write. Do not use a folder
    for temporary files: if a cleaner deletes the lock file, a second process can acquire the lock.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = os.environ.get("ENTITYCLIP_LEASES") or Path(cache) / "entityclip" / "leases"
    return Path(folder) / device
