"""Unit vectors: exact nearest neighbours, and how an index lies on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow import ArrowException
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from entityclip.errors import DataError, IndexMismatch
from entityclip.paths import IndexLayout
from entityclip.storage import atomic_path


def unit(vectors: np.ndarray) -> np.ndarray:
    """(N, D) rows scaled to length 1, float32; a zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)


def best(scores: np.ndarray, *, k: int) -> np.ndarray:
    """(k,) places of the highest of (N,) scores, best first; all of them when there are fewer.

    Among equal scores the lower place comes first.
    """
    k = min(k, len(scores))
    top = np.sort(np.argpartition(-scores, k - 1)[:k]) if k else np.zeros(0, dtype=np.int64)
    return top[np.argsort(-scores[top], kind="stable")]


def nearest(query: np.ndarray, vectors: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` rows of ``vectors`` (N, D) most similar to ``query`` (D,), best first: (k,) rows, (k,) similarities."""
    scores = vectors @ query
    top = best(scores, k=k)
    return top, scores[top]


def shares(similarities: np.ndarray, *, scale: float) -> np.ndarray:
    """(M,) similarities of all candidates -> (M,) their shares of the softmax at ``scale``."""
    odds = np.exp(scale * (similarities - similarities.max()))
    return odds / odds.sum()


def mapped(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a safetensors file of float32, read-only and mapped: processes share their memory.

    Raises:
        ValueError, KeyError, SafetensorError, OSError: The file is missing or damaged.
    """
    with safe_open(path, framework="numpy"):  # refuses a truncated or foreign file
        pass
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, shape = 8 + length + entry["data_offsets"][0], tuple(entry["shape"])
            arrays[name] = _array(path, start, shape) if 0 not in shape else np.zeros(shape, np.float32)
    return arrays


def _array(path: Path, start: int, shape: tuple[int, ...]) -> np.ndarray:
    # A view as a plain array: memmap's own slices are objects of their own, and slow.
    return np.memmap(path, np.float32, mode="r", offset=start, shape=shape).view(np.ndarray)


def save_index(
    layout: IndexLayout,
    card: dict[str, Any],
    *,
    vectors: dict[str, np.ndarray],
    rows: pd.DataFrame,
    also: Callable[[IndexLayout], None] | None = None,
) -> None:
    """Write an index beside its place, then put it there; an older one is replaced.

    Args:
        layout: Where it goes.
        card: What to remember, ``fingerprint`` of the model among it.
        vectors: Kind -> (N, D) float32.
        rows: N rows, in the order of the vectors.
        also: Writes what else belongs to the index.
    """
    with atomic_path(layout.root) as temporary:
        temporary.mkdir()
        partial = IndexLayout(temporary)
        save_file({kind: np.ascontiguousarray(v) for kind, v in vectors.items()}, partial.vectors)
        rows.to_parquet(partial.rows, index=False)
        if also is not None:
            also(partial)
        partial.card.write_text(json.dumps({"rows": len(rows), **card}, indent=1, sort_keys=True) + "\n")


def _differing(card: Mapping[str, Any], parts: Mapping[str, str] | None) -> str:
    """What of the two models differs, where both are known."""
    made_with = card.get("parts") or {}
    names = [name for name, value in (parts or {}).items() if made_with.get(name, value) != value]
    return f" ({', '.join(names)} differ)" if names else ""


def load_index(
    layout: IndexLayout, *, kinds: Iterable[str], fingerprint: str, parts: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray], pd.DataFrame]:
    """Card, vectors and rows of an index, for the model with this fingerprint.

    ``parts`` are the hashes that the fingerprint is made of; with them a mismatch says what differs.

    Raises:
        DataError: The index is missing, half-written or damaged.
        IndexMismatch: Another model made it.
    """
    if not layout.card.is_file():
        raise DataError(f"{layout.root}: no {layout.card.name}, so it is missing or half-written; build it again")
    try:
        card = json.loads(layout.card.read_text())
        made_by, count = card["fingerprint"], card["rows"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{layout.card}: not the card of an index ({error!r}); build the index again") from error
    if made_by != fingerprint:
        raise IndexMismatch(
            f"{layout.root}: built by model {made_by}, queried by model {fingerprint}{_differing(card, parts)}: their "
            "vectors cannot be compared; build the index with the model that queries it"
        )
    try:
        vectors, rows = mapped(layout.vectors), pd.read_parquet(layout.rows)
    except (OSError, ValueError, KeyError, SafetensorError, ArrowException) as error:
        raise DataError(f"{layout.root}: damaged ({error}); build the index again") from error
    shapes = {kind: vectors[kind].shape for kind in kinds if kind in vectors}
    if set(shapes) != set(kinds) or any(shape[0] != count for shape in shapes.values()) or len(rows) != count:
        raise DataError(
            f"{layout.root}: the card names {count} rows of {', '.join(kinds)}; found {len(rows)} rows and vectors "
            f"{shapes}; build the index again"
        )
    return card, vectors, rows
