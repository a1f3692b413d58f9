"""Reads the labels on training pictures, for the vocabulary of a package. The service does not import this module."""

from __future__ import annotations

import pandas as pd
from tqdm import tqdm

from entityclip.data import pairs
from entityclip.data.label_cache import LabelCache, read_once
from entityclip.data.labels import LabelReader
from entityclip.errors import ImageError
from entityclip.explanations.pii import redact
from entityclip.paths import DataLayout
from entityclip.retrieval.index import spelling
from entityclip.retrieval.label_vocabulary import COLUMNS

PICTURES = 8
"""Training pictures of an entity that are read, at most."""


def read_words(
    data: DataLayout, reader: LabelReader, cache: LabelCache, *, most: int = PICTURES, progress: bool = False
) -> pd.DataFrame:
    """``COLUMNS``: the words on at most ``most`` training pictures of each entity, without personal data.

    Lines pass the detection of personal data as captions do; what it finds is left out. A picture that can no longer
    be opened has no words.

    Raises:
        DataError: The data are incomplete or damaged.
    """
    columns = ["pair_id", "entity_id", "category", "language", "image"]
    listed = pairs.read_frame(data.pairs, name="train", columns=["pair_id", "entity_id"])
    wanted = set(listed.sort_values("pair_id").groupby("entity_id")["pair_id"].head(most))
    rows = []
    read = (row for row in pairs.iter_rows(data.pairs, name="train", columns=columns) if row["pair_id"] in wanted)
    for row in tqdm(read, total=len(wanted), desc="read", unit="picture", disable=not progress):
        try:
            labels = read_once(row["image"]["bytes"], reader, cache).labels
        except ImageError:
            continue
        plain = (redact(label.text, language=row["language"]) for label in labels)
        found = {word for line in plain if not line.counts for word in spelling.words(line.text) if len(word) > 1}
        rows += [(row["entity_id"], row["category"], row["pair_id"], word) for word in sorted(found)]
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype="str")
