"""What a release knows, in the form in which a service samples what it is shown: the two sides of drift."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from entityclip.data import pairs
from entityclip.model.checkpoint import LoadedModel
from entityclip.monitoring.drift import DriftSample
from entityclip.monitoring.statistics import STATISTICS, picture_statistics, script_of
from entityclip.paths import DataLayout
from entityclip.retrieval.index import EntityIndex

MOST = 2000
"""Pictures of the data that stand for all; more would make no test sharper that matters."""
_BATCH = 64


def baseline(model: LoadedModel, data: DataLayout, *, most: int = MOST) -> pd.DataFrame:
    """Rows like a service's samples: ``vector`` (float16 bytes) and ``STATISTICS``, or ``script``.

    Pictures are those of val and test: what a model was trained on fits it better than anything it will be shown.

    Raises:
        DataError: The data are missing or damaged.
    """
    rows = pairs.read_frame(data.pairs, columns=["pair_id", "split", "caption"])
    rows = rows[rows["split"] != "sealed"]
    held_out = rows[rows["split"] != "train"]
    chosen = set((held_out if len(held_out) else rows)["pair_id"].sort_values()[:most])
    pictures = pd.DataFrame(_pictures(model, data, chosen), columns=["vector", *STATISTICS])
    explained = pairs.read_frame(data.explanations, columns=["text"])["text"]
    texts = pd.concat([rows["caption"].dropna(), explained], ignore_index=True)
    return pd.concat([pictures, pd.DataFrame({"script": texts.map(script_of)})], ignore_index=True)


def _pictures(model: LoadedModel, data: DataLayout, chosen: set[str]) -> Iterator[dict[str, Any]]:
    squares: list[np.ndarray] = []
    for row in pairs.iter_rows(data.pairs, columns=["pair_id", "image"]):
        if row["pair_id"] in chosen:
            squares.append(model.card.preprocessing.square_of(row["image"]["bytes"]))
        if len(squares) == _BATCH:
            yield from _measured(model, squares)
            squares = []
    yield from _measured(model, squares)


def _measured(model: LoadedModel, squares: list[np.ndarray]) -> Iterator[dict[str, Any]]:
    for square, vector in zip(squares, model.embed_squares(squares), strict=True):
        yield {"vector": vector.astype(np.float16).tobytes(), **picture_statistics(square)}


def drift_sample(samples: pd.DataFrame, entities: EntityIndex) -> DriftSample:
    """Samples, or a baseline, as the tests take them; scores are those of the explanation index.

    The images and mixed indexes of a package hold the pictures of the baseline itself, which would score higher than
    any picture of a request.
    """
    shown = samples[samples["vector"].notna()].reset_index(drop=True)
    stored = np.frombuffer(b"".join(shown["vector"]), dtype=np.float16)
    vectors = stored.reshape(-1, entities.dim).astype(np.float32)
    scores = np.array([entities.similarities(vector, "explanation").max() for vector in vectors], dtype=np.float32)
    return DriftSample(shown[list(STATISTICS)].assign(score=scores), vectors, samples["script"].dropna())
