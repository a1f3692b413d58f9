"""Output of bulk annotation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AnnotationLayout:
    """A folder of annotations: what is known of every file, and one file or folder for each format."""

    root: Path

    @property
    def records(self) -> Path:
        """Annotations so far, SQLite; a later run continues with them."""
        return self.root / "records.sqlite"

    @property
    def labels(self) -> Path:
        """What was read on pictures, SQLite; a picture is read once, whatever tags it."""
        return self.root / "labels.sqlite"

    @property
    def csv(self) -> Path:
        """One row for each file, for spreadsheets."""
        return self.root / "annotations.csv"

    @property
    def jsonl(self) -> Path:
        """One JSON object for each file."""
        return self.root / "annotations.jsonl"

    @property
    def coco(self) -> Path:
        """COCO detection."""
        return self.root / "annotations.coco.json"

    @property
    def label_studio(self) -> Path:
        """Tasks with predictions, to import into a Label Studio project."""
        return self.root / "label-studio.json"

    @property
    def label_studio_config(self) -> Path:
        """Labelling interface of that project."""
        return self.root / "label-studio.xml"

    @property
    def cvat(self) -> Path:
        """CVAT for images 1.1."""
        return self.root / "annotations.cvat.xml"

    @property
    def yolo(self) -> Path:
        """``data.yaml`` and ``labels/``."""
        return self.root / "yolo"

    @property
    def timeline(self) -> Path:
        """Of a video: when each entity is seen, CSV."""
        return self.root / "timeline.csv"

    @property
    def subtitles(self) -> Path:
        """The same as WebVTT."""
        return self.root / "timeline.vtt"

    @property
    def parquet(self) -> Path:
        """A table for the library ``datasets``."""
        return self.root / "annotations.parquet"
