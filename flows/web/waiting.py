"""What waits for a reviewer: texts that the gate quarantined, and feedback that needs a second opinion.

Files are read again when they change: a run may replace staging, and other reviewers store decisions.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

import pandas as pd
import pyarrow.parquet as pq

from entityclip.data import pairs
from entityclip.monitoring.feedback import JudgedRow
from entityclip.paths import Layout
from entityclip.quality.quarantine_file import broken_pairs
from entityclip.quality.review import PendingText, Review, pending_texts, quarantine_of, read_reviews
from entityclip.quality.review.order import by_expected_gain
from entityclip.quality.review.pending import returnable
from flows.feedback import own_pictures, read_judged

T = TypeVar("T")
PICTURES_SHOWN = 3


class Cached(Generic[T]):
    """A value that is computed from files, and computed again when one of them changes; threads may share it.

    Args:
        files: Paths that it depends on; a missing file is a state as well.
        compute: Gives the value.
    """

    def __init__(self, files: Callable[[], list[Path]], compute: Callable[[], T]) -> None:
        self._files, self._compute = files, compute
        self._lock = threading.Lock()
        self._stamp: object = None
        self._value: T | None = None

    def get(self) -> T:
        """The value for the files as they are now."""
        with self._lock:
            stamp = [_stamp(path) for path in self._files()]
            if self._value is None or stamp != self._stamp:
                self._value, self._stamp = self._compute(), stamp
            return self._value


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class WaitingTexts:
    """The quarantined texts of one state of staging, with the pictures of their entities.

    Args:
        layout: The workspace.
        requests: entity_id -> number of judgements about it.
        also: Further entities whose pictures are shown.
    """

    def __init__(self, layout: Layout, *, requests: dict[str, int], also: Collection[str] = ()) -> None:
        quarantine = quarantine_of(layout)
        found = [] if quarantine is None else pending_texts(quarantine, layout.staging)
        self.pictures_aside = {} if quarantine is None else _pictures_aside(quarantine)
        """Rule -> number of quarantined pictures that no decision can return, the largest first."""
        self.rules = _notes(layout)
        decided = read_reviews(layout.reviews)
        if found:
            found = by_expected_gain(found, layout.staging, decided=decided, requests=requests)
        self.texts = {text.explanation_id: text for text in found}
        own = {text.explanation_id for text in found if text.is_picture}
        shown = set() if quarantine is None else {text.entity_id for text in found} | set(also)
        self.pictures = StagedPictures(layout, shown, also=own)
        self._similar: dict[str, list[PendingText]] = {}
        for text in found:
            for key in _cases(text):
                self._similar.setdefault(key, []).append(text)

    def similar(self, text: PendingText) -> list[PendingText]:
        """Other texts that broke the same rules with the same words: similar cases."""
        found = {other.explanation_id: other for key in _cases(text) for other in self._similar[key]}
        return [other for other in found.values() if other.explanation_id != text.explanation_id]


def _cases(text: PendingText) -> list[str]:
    """What makes two texts similar cases: the same rules, and the same value or the same words. No pictures are."""
    if text.is_picture:
        return []
    words = " ".join(text.text.casefold().split())
    return [f"{text.rules}\0text\0{words}", *([f"{text.rules}\0value\0{text.values}"] if text.values else [])]


def _pictures_aside(quarantine: Path) -> dict[str, int]:
    lines = broken_pairs(quarantine)
    found = lines[~lines["id"].isin(returnable(lines)["id"])].drop_duplicates(["id", "rule"])
    return {str(rule): int(count) for rule, count in found["rule"].value_counts().items()}


def _notes(layout: Layout) -> dict[str, str]:
    """Rule -> the sentence about it in the suite of the workspace."""
    found: dict[str, str] = {}
    for suite in (layout.pairs_suite, layout.pairs_suite.with_name("explanations.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            rules = json.loads(suite.read_text(encoding="utf-8"))["expectations"]
            found |= {rule["meta"]["rule"]: rule.get("notes") or "" for rule in rules}
    return found


class StagedPictures:
    """The first pictures of some entities in staging; a picture is read when it is shown.

    Args:
        layout: The workspace.
        entity_ids: The entities.
        also: pair_id of further pictures of them that can be read.

    Raises:
        DataError: Staging is damaged, or a run is replacing it.
    """

    def __init__(self, layout: Layout, entity_ids: set[str], *, also: Collection[str] = ()) -> None:
        self._places: dict[str, tuple[Path, int]] = {}
        self.of: dict[str, list[str]] = {}
        """entity_id -> pair_id of up to ``PICTURES_SHOWN`` pictures."""
        if not entity_ids:
            return
        rows = []
        for path in pairs.shards(layout.staging.pairs):
            with pairs.reading(path):
                file = pq.ParquetFile(path)
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group, columns=["pair_id", "entity_id"]).to_pandas()
                    rows.append(table[table["entity_id"].isin(entity_ids)].assign(path=path, group=group))
        found = pd.concat(rows).drop_duplicates("pair_id").sort_values("pair_id")
        for row in found.groupby("entity_id").head(PICTURES_SHOWN).itertuples():
            self._places[row.pair_id] = (row.path, row.group)
            self.of.setdefault(row.entity_id, []).append(row.pair_id)
        for row in found[found["pair_id"].isin(also)].itertuples():
            self._places[row.pair_id] = (row.path, row.group)

    def read(self, pair_id: str) -> bytes | None:
        """A picture's file; None for a picture that is not among them.

        Raises:
            DataError: Staging is damaged, or a run is replacing it.
        """
        if pair_id not in self._places:
            return None
        path, group = self._places[pair_id]
        with pairs.reading(path):
            table = pq.ParquetFile(path).read_row_group(group, columns=["pair_id", "image"])
        row = table["pair_id"].to_pylist().index(pair_id)
        content: bytes = table["image"][row].as_py()["bytes"]
        return content


class Waiting:
    """Everything in a workspace that waits, or was decided."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._texts = Cached(self._batch, self._read_texts)
        self._reviews = Cached(lambda: [layout.reviews], self._read_reviews)
        self._judged = Cached(lambda: [layout.feedback.judged], lambda: tuple(read_judged(layout.feedback.judged)))
        self._own = Cached(lambda: [layout.data.marker], lambda: len(own_pictures(layout)))

    @property
    def texts(self) -> WaitingTexts:
        """Texts of the last batch that the gate checked, decided ones included.

        Raises:
            DataError: The files are of different batches, as while a run is at work.
        """
        return self._texts.get()

    @property
    def reviews(self) -> dict[str, Review]:
        """explanation_id -> stored decision."""
        return self._reviews.get()

    @property
    def judged(self) -> tuple[JudgedRow, ...]:
        """All ingested judgements of users."""
        return self._judged.get()

    @property
    def own_pictures(self) -> int:
        """Pictures of the source itself in the current data version; 0 before the first one.

        Raises:
            DataError: The data are damaged.
        """
        return self._own.get()

    def _batch(self) -> list[Path]:
        layout = self.layout
        return [layout.staging_quality, layout.report("quality"), layout.staging.marker, layout.feedback.judged]

    def _read_texts(self) -> WaitingTexts:
        requests: dict[str, int] = {}
        for row in self.judged:
            requests[row.entity_id] = requests.get(row.entity_id, 0) + 1
        searched = {row.entity_id for row in self.judged if row.words}
        return WaitingTexts(self.layout, requests=requests, also=searched)

    def _read_reviews(self) -> dict[str, Review]:
        return {review.explanation_id: review for review in read_reviews(self.layout.reviews)}
