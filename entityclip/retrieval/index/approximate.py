"""Nearest neighbours among more vectors than can be compared with each question one by one.

Vectors lie in lists of neighbours in half precision (faiss, IVF), and a question reads only the lists nearest to
it. The number of lists to read is tuned when the index is built, on representative queries; the recall reached is
kept with the index.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from entityclip.errors import DataError
from entityclip.retrieval.vectors import best
from entityclip.schemas import Record

EXACT_ROWS = 100_000
"""Up to so many vectors of width 512 a question is compared with each, in about 7 ms."""

QUERIES = 256
"""Questions that recall is measured with."""

TARGET = 0.99
"""Least recall@10 that the index is built for."""

FEW = 5_000
"""Rows that a filter leaves, up to which they are compared one by one: gathering more costs more than the lists."""

FARTHER = 1.5
"""So many times more is read behind a filter: what it leaves lies farther from a question than what it takes out."""

WIDER = 3
"""So many times k are taken from the half-precision lists and compared again in full."""


class IndexMeasurement(Record):
    """What an approximate index was found to be worth when it was built."""

    rows: int
    lists: int
    probes: int = Field(description="Lists that a question reads.")
    recall_at_10: float = Field(description="Share of the ten nearest that are found, 0 to 1.")
    queries: int = Field(description="Questions that this was measured with.")


@dataclass(frozen=True, eq=False)
class Only:
    """The rows that a filter leaves, made ready once for many questions."""

    rows: np.ndarray
    """(n,) numbers of the rows."""
    row_bits: np.ndarray
    """The same, a bit for each of all N rows."""
    list_bits: np.ndarray
    """A bit for each list: whether it holds any of them. A filter by category empties most lists."""
    holding: int
    """Lists that hold any."""


@dataclass(frozen=True, eq=False)
class Approximate:
    """Lists of neighbours; threads may share them."""

    lists: Any
    """faiss.IndexIVFScalarQuantizer."""
    measured: IndexMeasurement

    @classmethod
    def build(cls, vectors: np.ndarray, *, queries: np.ndarray | None = None, seed: int = 0) -> Approximate:
        """Lists over ``vectors`` (N, D), tuned with some of the vectors and some of ``queries`` (Q, D), unit rows both.

        Texts lie apart from pictures and need more lists: pass text vectors as ``queries`` if texts will be searched.
        """
        import faiss

        rng = np.random.default_rng(seed)
        count = max(1, int(2 * math.sqrt(len(vectors))))
        quantizer = faiss.IndexFlatIP(vectors.shape[1])
        kind, metric = faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        lists = faiss.IndexIVFScalarQuantizer(quantizer, vectors.shape[1], count, kind, metric, False)
        lists.cp.seed = seed
        learned = rng.choice(len(vectors), min(len(vectors), 40 * count), replace=False)
        lists.train(np.ascontiguousarray(vectors[np.sort(learned)]))
        for start in range(0, len(vectors), EXACT_ROWS):  # a mapped file is not read into memory at once
            lists.add(np.ascontiguousarray(vectors[start : start + EXACT_ROWS]))
        kinds = [vectors] if queries is None else [vectors, queries]
        samples = [part[rng.choice(len(part), min(QUERIES // len(kinds), len(part)), replace=False)] for part in kinds]
        return cls(lists, _tuned(lists, vectors, np.concatenate(samples)))

    def only(self, allowed: np.ndarray) -> Only:
        """The rows that (N,) bool ``allowed`` leaves, for ``nearest``."""
        rows = np.flatnonzero(allowed)
        holds = np.zeros(self.measured.lists, dtype=bool)
        holds[self._list_of[rows]] = True
        return Only(rows, _bits(allowed), _bits(holds), int(np.count_nonzero(holds)))

    def nearest(self, query: np.ndarray, vectors: np.ndarray, *, k: int, only: Only | None = None) -> np.ndarray:
        """(k,) rows of ``vectors`` that are most similar to ``query`` (D,), best first; fewer where it finds fewer.

        Args:
            query: The question.
            vectors: (N, D), the ones that this was built from: what the lists give is compared again in full.
            k: Rows wanted.
            only: Which rows may be found; None for all.
        """
        if only is not None and len(only.rows) <= max(FEW, k):
            rows = only.rows
        else:
            rows = _read(self.lists, query[None], k=WIDER * k, probes=self._probes(k, only), only=only)[0]
            rows = np.sort(rows[rows >= 0])
        return _again(rows, vectors, query, k=k)

    def _probes(self, k: int, only: Only | None) -> int:
        """More lists where more is wanted, or where a filter leaves only a share of each."""
        wider = math.sqrt(max(1.0, k / 10))
        if only is None:
            return min(self.measured.lists, math.ceil(self.measured.probes * wider))
        share = len(only.rows) / self.measured.rows
        return min(only.holding, math.ceil(self.measured.probes * wider * FARTHER / share))

    @cached_property
    def _list_of(self) -> np.ndarray:
        """(N,) list in which each row lies."""
        import faiss

        of, inverted = np.zeros(self.measured.rows, np.int32), self.lists.invlists
        for number in range(self.measured.lists):
            if size := inverted.list_size(number):
                of[faiss.rev_swig_ptr(inverted.get_ids(number), size)] = number
        return of

    def save(self, path: Path) -> None:
        """Write the lists; the caller stores ``measured``."""
        import faiss

        faiss.write_index(self.lists, str(path))

    @classmethod
    def load(cls, path: Path, measured: IndexMeasurement) -> Approximate:
        """Map the lists, so that processes share their memory.

        Raises:
            DataError: The file is missing or damaged.
        """
        import faiss

        try:
            lists = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        except RuntimeError as error:
            raise DataError(f"{path}: missing or damaged ({error}); build the index again") from error
        if lists.ntotal != measured.rows:
            raise DataError(f"{path}: holds {lists.ntotal} vectors, {measured.rows} expected; build the index again")
        return cls(lists, measured)


def _tuned(lists: Any, vectors: np.ndarray, queries: np.ndarray) -> IndexMeasurement:
    """The fewest probes, doubled from one, that reach ``TARGET``, and what recall they give."""
    k = min(10, len(vectors))
    true = exact(vectors, queries, k=k)
    probes, recall = 1, 0.0
    while True:
        found = _read(lists, queries, k=WIDER * k, probes=probes)
        similar = (_again(rows[rows >= 0], vectors, query, k=k) for rows, query in zip(found, queries, strict=True))
        hits = sum(len(np.intersect1d(rows, truth)) for rows, truth in zip(similar, true, strict=True))
        recall = hits / true.size
        if recall >= TARGET or probes >= lists.nlist:
            break
        probes = min(2 * probes, lists.nlist)
    return IndexMeasurement(
        rows=len(vectors), lists=lists.nlist, probes=probes, recall_at_10=recall, queries=len(queries)
    )


def _again(rows: np.ndarray, vectors: np.ndarray, query: np.ndarray, *, k: int) -> np.ndarray:
    return rows[best(vectors[rows] @ query, k=k)]


def exact(vectors: np.ndarray, queries: np.ndarray, *, k: int) -> np.ndarray:
    """(Q, k) rows of ``vectors`` (N, D) nearest to each of ``queries`` (Q, D), by comparing all with all."""
    found, rows = np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(vectors), EXACT_ROWS):
        scores = queries @ vectors[start : start + EXACT_ROWS].T
        top = np.argpartition(-scores, min(k, scores.shape[1]) - 1, axis=1)[:, :k]
        found = np.concatenate([found, np.take_along_axis(scores, top, axis=1)], axis=1)
        rows = np.concatenate([rows, top + start], axis=1)
    order = np.argsort(-found, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(rows, order, axis=1)


def _read(lists: Any, queries: np.ndarray, *, k: int, probes: int, only: Only | None = None) -> np.ndarray:
    """(Q, k) rows that the nearest ``probes`` lists give, -1 where they hold fewer."""
    import faiss

    # faiss's stubs know neither keywords nor arrays here.
    options: Any = faiss.SearchParametersIVF()
    options.nprobe = probes
    if only is not None:
        selector: Any = faiss.IDSelectorBitmap
        coarse: Any = faiss.SearchParameters()
        of_rows, of_lists = selector(only.row_bits), selector(only.list_bits)  # faiss keeps no reference to them
        options.sel, coarse.sel, options.quantizer_params = of_rows, of_lists, coarse
    return lists.search(np.ascontiguousarray(queries), k, params=options)[1]


def _bits(allowed: np.ndarray) -> np.ndarray:
    return np.packbits(allowed, bitorder="little")
