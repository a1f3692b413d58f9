"""Adaptive batching: requests that arrive while the tower computes form the next batch.

No request waits for a batch to fill. A single request is a batch of one; under load, a batch holds all requests that
arrived during the previous one, so that the batch size follows the load.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Generic, TypeVar

import numpy as np
from PIL import Image

from bentos.runtime import metrics
from entityclip.model.checkpoint import LoadedModel

MOST = 64
"""Most pictures or texts in one batch, unless a single request has more."""

Item = TypeVar("Item")


@dataclass(eq=False)
class _Job(Generic[Item]):
    """Items of one caller, and their result."""

    items: Sequence[Item]
    came: float = field(default_factory=time.perf_counter)
    began: float = 0.0
    rows: np.ndarray | None = None
    failed: Exception | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Batcher(Generic[Item]):
    """Merges concurrent calls from several threads into one call of ``compute``.

    A single thread makes all calls of ``compute``, because torch keeps a thread pool for each thread that computes, and
    idle pools keep spinning for a while.

    Args:
        compute: N items -> (N, D) rows.
        most: Most items in one batch.
    """

    def __init__(self, compute: Callable[[list[Item]], np.ndarray], *, most: int = MOST) -> None:
        self.compute, self.most = compute, most
        self._waiting: deque[_Job[Item]] = deque()
        self._queue, self._busy = threading.Lock(), False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tower")

    def __call__(self, items: Sequence[Item]) -> np.ndarray:
        """(N,) items -> (N, D) rows. Raises what ``compute`` raises for these items."""
        job = _Job(items)
        with self._queue:
            self._waiting.append(job)
            if not self._busy:
                self._busy = True
                self._thread.submit(self._work)
        job.done.wait()
        metrics.observe("queue", job.began - job.came)
        metrics.observe("encode", time.perf_counter() - job.began)
        if job.rows is None:
            raise job.failed or RuntimeError("a batch ended without an answer")
        return job.rows

    def _work(self) -> None:
        while jobs := self._next_batch():
            try:
                self._run(jobs)
            finally:
                for job in jobs:
                    job.done.set()

    def _run(self, jobs: list[_Job[Item]]) -> None:
        """Compute the jobs together; if that fails, one by one, so that a bad one does not fail the others."""
        began = time.perf_counter()
        for job in jobs:
            job.began = began
        try:
            self._compute(jobs)
        except Exception:
            for job in jobs:
                try:
                    self._compute([job])
                except Exception as error:
                    job.failed = error

    def _compute(self, jobs: list[_Job[Item]]) -> None:
        rows = self.compute([item for job in jobs for item in job.items])
        start = 0
        for job in jobs:
            job.rows = rows[start : start + len(job.items)]
            start += len(job.items)

    def _next_batch(self) -> list[_Job[Item]]:
        """The oldest waiting jobs that fit into one batch; empty if none waits."""
        with self._queue:
            jobs: list[_Job[Item]] = []
            count = 0
            while self._waiting and (not jobs or count + len(self._waiting[0].items) <= self.most):
                jobs.append(self._waiting.popleft())
                count += len(jobs[-1].items)
            self._busy = bool(jobs)
            return jobs


@dataclass(frozen=True)
class BatchedModel(LoadedModel):
    """A model whose towers batch the pictures and texts of several threads."""

    squares: Batcher[np.ndarray]
    texts: Batcher[str]

    @classmethod
    def of(cls, model: LoadedModel) -> BatchedModel:
        """The same model, batched."""
        parts: dict[str, Any] = {name: getattr(model, name) for name in ("model", "card", "tokenizer", "device")}
        return cls(**parts, squares=Batcher(model.embed_squares), texts=Batcher(model.embed_texts))

    def embed_texts(self, texts: Sequence[str], *, batch: int = MOST) -> np.ndarray:  # noqa: ARG002
        """(N,) texts -> (N, D) float32, unit rows."""
        return self.texts(texts)

    def embed_squares(self, squares: Iterable[np.ndarray], *, batch: int = MOST) -> np.ndarray:  # noqa: ARG002
        """N squares (3, S, S) uint8 -> (N, D) float32, unit rows."""
        return self.squares(list(squares))


class Decoder:
    """Decodes uploads, a few at a time, within the memory that ``picture_memory`` grants to all of them.

    Returns the tower's input square as a picture. Preprocessing it a second time changes nothing, so the predictor can
    handle it like any other picture.
    """

    def __init__(self, model: LoadedModel, *, max_concurrency: int) -> None:
        self._preprocessing = model.card.preprocessing
        self._pool = ThreadPoolExecutor(max_concurrency, thread_name_prefix="decode")  # first come, first served

    def __call__(self, upload: bytes) -> Image.Image:
        """The square of the uploaded picture.

        Raises:
            ImageError: The picture cannot be used.
        """
        return self.all([upload])[0]

    def all(self, uploads: Sequence[bytes]) -> list[Image.Image]:
        """The squares of several pictures. Raises for the first picture that cannot be used."""
        came = time.perf_counter()
        return list(self._pool.map(self._square, uploads, repeat(came)))

    def _square(self, upload: bytes, came: float) -> Image.Image:
        metrics.observe("queue", time.perf_counter() - came)
        with metrics.timed("decode"):
            return Image.fromarray(self._preprocessing.square_of(upload).transpose(1, 2, 0))
