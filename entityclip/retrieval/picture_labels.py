"""Reads the labels on the pictures of a data version into its table ``labels``, and gives their words.

The service does not import this module.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from tqdm import tqdm

from entityclip.data import pairs
from entityclip.data.label_cache import LabelCache, read_once
from entityclip.data.label_lines import read_label_lines
from entityclip.data.labels import LabelReader, reader_version
from entityclip.errors import ImageError
from entityclip.paths import DataLayout
from entityclip.retrieval.index import spelling
from entityclip.retrieval.label_vocabulary import COLUMNS
from entityclip.schemas import LabelCounts, Split
from entityclip.storage import atomic_path

PICTURES = 8
"""Pictures of an entity in each split that are read unless the caller says otherwise."""


def read_labels(
    data: DataLayout,
    open_reader: Callable[[], LabelReader],
    cache: LabelCache,
    *,
    most: int = PICTURES,
    progress: bool = False,
) -> LabelCounts:
    """Write the table ``labels`` of ``data``: the lines on at most ``most`` pictures of each entity in each split.

    A picture that ``cache`` holds is not read again, so that a run that was killed continues. A picture that can no
    longer be opened has no row.

    Args:
        data: The data version; everything but the table stays.
        open_reader: Opens the reader; not called if the cache holds every picture.
        cache: Keeps what was read, without personal data.
        most: Pictures of an entity in each split, the ones with the lowest ids.
        progress: Show a progress bar on standard error.

    Raises:
        ConfigError: A picture has to be read and the extra ``labels`` is not installed.
        DataError: The data are incomplete or damaged.
    """
    pairs.require_complete(data)
    listed = pairs.read_frame(data.pairs, columns=["pair_id", "entity_id", "split", "image_sha256"])
    chosen = listed.sort_values("pair_id").groupby(["entity_id", "split"]).head(most)
    wanted, version = set(chosen["image_sha256"]), reader_version()
    reader: LabelReader | None = None
    counts, rows = {"pictures": 0, "with_text": 0, "read_now": 0}, []
    bar = tqdm(total=len(wanted), desc="read", unit="picture", disable=not progress)
    for row in pairs.iter_rows(data.pairs, columns=["image_sha256", "image"]):
        if row["image_sha256"] not in wanted:
            continue
        wanted.remove(row["image_sha256"])
        bar.update()
        lines = cache.get(row["image_sha256"])
        if lines is None:
            reader = reader or open_reader()
            try:
                lines = read_once(row["image"]["bytes"], reader, cache).labels
            except ImageError:
                continue
            counts["read_now"] += 1
        rows.append({"image_sha256": row["image_sha256"], "lines": [line.text for line in lines], "reader": version})
        counts["pictures"] += 1
        counts["with_text"] += bool(lines)
    bar.close()
    with atomic_path(data.labels) as temporary:
        pairs.write_rows(temporary, pairs.LABELS, rows, name="labels")
    return LabelCounts(**counts)


def label_words(data: DataLayout, *, split: Split | None = None) -> pd.DataFrame:
    """``COLUMNS``: each word on each picture of a split, or of all, whose labels were read; empty where none were."""
    lines = read_label_lines(data)
    if lines is None:
        return pd.DataFrame(columns=list(COLUMNS), dtype="str")
    columns = ["pair_id", "entity_id", "category", "image_sha256"]
    rows = pairs.read_frame(data.pairs, name=split or "*", columns=columns)
    rows = rows.drop_duplicates(["image_sha256", "entity_id"]).merge(lines, on="image_sha256")
    words = rows["lines"].map(
        lambda printed: sorted({w for line in printed for w in spelling.words(line) if len(w) > 1})
    )
    rows = rows.assign(word=words)[list(COLUMNS)].explode("word").dropna(subset="word")
    return rows.sort_values(list(COLUMNS)).astype("str").reset_index(drop=True)


def label_texts(data: DataLayout) -> pd.DataFrame | None:
    """entity_id, pair_id, text of every picture with text on it; None where labels were not read."""
    lines = read_label_lines(data)
    if lines is None:
        return None
    rows = pairs.read_frame(data.pairs, columns=["entity_id", "pair_id", "image_sha256"]).drop_duplicates("pair_id")
    rows = rows.merge(lines[lines["lines"].map(len) > 0], on="image_sha256")
    return rows.assign(text=rows["lines"].map(" / ".join))[["entity_id", "pair_id", "text"]]
