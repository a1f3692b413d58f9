"""A running service and what returns from it: state, feedback, reviews, monitoring; and the lock of a device."""

from __future__ import annotations

import os
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


def device_lock(device: str) -> Path:
    """Held by the one training that is at work on this device, like ``cpu`` or ``cuda-0``.

    ``ENTITYCLIP_LEASES`` names another folder, say one that all users of a machine can write. Never a folder of
    temporary files: a cleaner that deletes the file of a lock lets a second holder in.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = os.environ.get("ENTITYCLIP_LEASES") or Path(cache) / "entityclip" / "leases"
    return Path(folder) / device
