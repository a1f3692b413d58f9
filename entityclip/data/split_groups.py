"""Pictures that belong together stay in one split, so that a model is not examined on what it learned from.

Near duplicates of one entity belong together, and pictures whose rows share a ``split_group``. Pictures of two entities
that look alike do not: in a catalogue of plain drawings all of them would end in one split. They are listed instead.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from entityclip.data import pairs
from entityclip.data.image_near_duplicates import SIDE, connected, near_duplicate_pairs, thumbnail
from entityclip.paths import DataLayout
from entityclip.schemas import NearDuplicates, Split
from entityclip.storage import atomic_path

ALIKE, GROUPED = "near duplicate", "split group"
"""Kinds of pairs: the pictures resemble each other, or their rows share a ``split_group``."""


class _Picture(NamedTuple):
    sha256: str
    entity_id: str
    split: Split
    fixed: bool


@contextmanager
def split_groups(staging: DataLayout) -> Iterator[SplitGroups]:
    """Groups without pictures; thumbnails wait in a temporary file beside the data, 3 kB each."""
    with tempfile.TemporaryFile(dir=staging.root) as file:
        yield SplitGroups(file)


class SplitGroups:
    """The pictures of an ingest with their splits, and which of them belong together."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._pictures: dict[str, _Picture] = {}
        self._numbers: dict[str, int] = {}
        self._first_of: dict[str, int] = {}
        self._grouped: list[tuple[int, int]] = []

    def add(
        self, picture: Image.Image, *, sha256: str, entity_id: str, split: Split, fixed: bool, split_group: str
    ) -> None:
        """Take note of a row's picture.

        Args:
            picture: Decoded.
            sha256: Hash of its file; of a picture that several rows show, the first row's entity counts.
            entity_id: What it shows.
            split: Where it is now.
            fixed: Whether it has to stay there.
            split_group: Rows with the same text belong together; empty for none.
        """
        if sha256 not in self._pictures:
            self._numbers[sha256] = len(self._pictures)
            self._pictures[sha256] = _Picture(sha256, sys.intern(entity_id), split, fixed)
            self._file.write(thumbnail(picture).tobytes())
        elif fixed and not self._pictures[sha256].fixed:
            self._pictures[sha256] = self._pictures[sha256]._replace(split=split, fixed=True)
        if split_group:
            number = self._numbers[sha256]
            first = self._first_of.setdefault(split_group, number)
            if first != number:
                self._grouped.append((first, number))

    def keep_together(self, staging: DataLayout, counts: dict[Split, int]) -> tuple[NearDuplicates, dict[Split, int]]:
        """Move pictures so that those that belong together share a split, and write the table of near duplicates.

        A group goes where its first picture is whose split is fixed, test before others; without one, where its first
        picture is.

        Args:
            staging: Its pairs are written; they are rewritten if pictures move.
            counts: Pairs per split.

        Returns:
            What was found, and the pairs per split.
        """
        pictures = list(self._pictures.values())
        entity = pd.factorize(np.array([picture.entity_id for picture in pictures], dtype=object))[0]
        alike, grouped = self._alike(entity), np.array(self._grouped, np.int64).reshape(-1, 2)
        _write_pairs(staging, pictures, {ALIKE: alike, GROUPED: grouped})
        same = entity[alike[:, 0]] == entity[alike[:, 1]]
        moves, found = _moves(pictures, np.concatenate([alike[same], grouped]))
        found = found.model_copy(update={"look_like_others": len(np.unique(alike[~same]))})
        return found, _move(staging, moves) if moves else counts

    def _alike(self, entity: np.ndarray) -> np.ndarray:
        """(P, 2) numbers of pictures that are near duplicates; ``entity`` (N,) is what each picture shows."""
        self._file.flush()
        shape = (len(self._pictures), SIDE, SIDE, 3)
        empty = np.zeros(shape, np.uint8)[:0]
        thumbnails = np.memmap(self._file, np.uint8, mode="r", shape=shape) if self._pictures else empty
        return np.stack(near_duplicate_pairs(thumbnails, entity), axis=1)


def _moves(pictures: list[_Picture], links: np.ndarray) -> tuple[dict[str, Split], NearDuplicates]:
    """SHA-256 -> new split of pictures that move, and counts; ``links`` (P, 2) are of pictures that stay together."""
    groups = defaultdict(list)
    labels = connected(links[:, 0], links[:, 1], len(pictures))
    for number in np.unique(links).tolist():
        groups[labels[number]].append(pictures[number])
    moves: dict[str, Split] = {}
    apart = 0
    for group in groups.values():
        fixed = [picture.split for picture in group if picture.fixed]
        goal: Split = "test" if "test" in fixed else fixed[0] if fixed else group[0].split
        moves |= {picture.sha256: goal for picture in group if not picture.fixed and picture.split != goal}
        apart += sum(split != goal for split in fixed)
    sizes = [len(group) for group in groups.values()]
    return moves, NearDuplicates(
        pictures=sum(sizes), groups=len(sizes), largest=max(sizes, default=0), moved=len(moves), apart=apart
    )


def _move(staging: DataLayout, moves: dict[str, Split]) -> dict[Split, int]:
    """Write the pairs again, those of ``moves`` (SHA-256 of the picture -> split) into their new split."""
    with atomic_path(staging.pairs) as temporary:
        writer = pairs.PairsWriter(temporary)
        for row in pairs.iter_rows(staging.pairs):
            writer.add(row | {"split": moves.get(row["image_sha256"], row["split"])})
        return writer.close()


# ---------------------------------------------------------------- the table
def _write_pairs(staging: DataLayout, pictures: list[_Picture], links: dict[str, np.ndarray]) -> None:
    rows = (
        {"image_sha256": pictures[first].sha256, "near_sha256": pictures[second].sha256, "kind": kind}
        for kind, numbers in links.items()
        for first, second in numbers.tolist()
    )
    pairs.write_rows(staging.near_duplicates, pairs.NEAR_DUPLICATES, rows, name="near_duplicates")


def read_near_duplicates(data: DataLayout) -> pd.DataFrame | None:
    """image_sha256, near_sha256, kind of each pair; None in a data version of before they were looked for."""
    return pairs.read_frame(data.near_duplicates) if data.near_duplicates.is_dir() else None


def copy_near_duplicates(data: DataLayout, *, into: DataLayout) -> None:
    """Write the pairs whose pictures are both in ``into``, whose pairs are written."""
    if not data.near_duplicates.is_dir():
        return
    kept = set(pairs.read_frame(into.pairs, columns=["image_sha256"])["image_sha256"])
    rows = (row for row in pairs.iter_rows(data.near_duplicates) if {row["image_sha256"], row["near_sha256"]} <= kept)
    pairs.write_rows(into.near_duplicates, pairs.NEAR_DUPLICATES, rows, name="near_duplicates")


def seen_in_training(rows: pd.DataFrame, near: pd.DataFrame) -> pd.Series:
    """For each row outside of train, the pair_id of a training picture that it is or belongs together with, by being
    near duplicates of one entity or by a ``split_group``; missing for all others.

    Args:
        rows: pair_id, image_sha256, entity_id, split of all pairs.
        near: As ``read_near_duplicates``.
    """
    trained = rows[rows["split"] == "train"].drop_duplicates("image_sha256").set_index("image_sha256")["pair_id"]
    pictures = rows.drop_duplicates("image_sha256")
    number = pd.Series(np.arange(len(pictures)), index=pictures["image_sha256"])
    near = near[near["image_sha256"].isin(number.index) & near["near_sha256"].isin(number.index)]
    first, second = (number[near[column]].to_numpy() for column in ("image_sha256", "near_sha256"))
    entity = pictures["entity_id"].to_numpy()
    together = (entity[first] == entity[second]) | (near["kind"] == GROUPED).to_numpy()
    group = connected(first[together], second[together], len(pictures))
    own = pictures["image_sha256"].map(trained).reset_index(drop=True)
    found = own.groupby(group).transform("first").to_numpy()
    by_picture = pd.Series(found, index=pictures["image_sha256"], dtype="str")
    return rows["image_sha256"].map(by_picture).where(rows["split"] != "train")
