"""Runs shards on the workers of a Dask cluster, or one after the other in this process, with the same results.

Only computation is distributed: embedding pictures, and explaining with a local model. A language-model server already
answers many requests at once, and its budget is counted in one place.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from entityclip.errors import ConfigError
from entityclip.explanations import Writer, WriterAnswer, WriterConfig, WriterCost, open_writer, writer_config
from entityclip.explanations.config import TransformersConfig
from entityclip.schemas import ExplanationRequest
from entityclip.settings import RunPolicy

if TYPE_CHECKING:
    from distributed import Client

    from entityclip.retrieval.index import MapShards

A = TypeVar("A")
B = TypeVar("B")
AHEAD = 2
"""Parts in flight per worker: no worker idles, and memory stays bounded."""
BATCHES = 8
"""Model batches per part; whole batches, so that texts do not depend on the distribution."""


@contextmanager
def mapper(policy: RunPolicy) -> Iterator[MapShards]:
    """``map`` over the workspace's cluster; the built-in ``map`` if it names none.

    Raises:
        ConfigError: The extra is not installed, or no scheduler answers.
    """
    if not policy.dask:
        yield map
        return
    with _client(policy.dask) as client:
        yield partial(_mapped, client)


@contextmanager
def _client(where: str) -> Iterator[Client]:
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ConfigError(
            f"runs.dask is {where!r}, and Dask is not installed: pip install 'entityclip[dask]'"
        ) from error
    if where == "local":
        with LocalCluster(threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
            yield client
        return
    try:
        client = Client(where)
    except OSError as error:
        raise ConfigError(
            f"runs.dask: no scheduler answers at {where}: {error}; start it, or leave runs.dask empty"
        ) from error
    with client:
        yield client


def _mapped(client: Client, work: Callable[[A], B], things: Iterable[A]) -> Iterator[B]:
    """Results in order; ``things`` is consumed lazily. If a worker dies, another one repeats its part."""
    waiting: deque[Any] = deque()
    most = AHEAD * max(1, sum(client.nthreads().values()))
    for thing in things:
        waiting.append(client.submit(work, thing, pure=False))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


# ---------------------------------------------------------------- writers
def distributed_writer(writer: Writer, config: WriterConfig, *, ledger: Path, map_shards: MapShards) -> Writer:
    """The writer itself, or, for a local model and a cluster, one that writes on the workers."""
    if map_shards is map or not isinstance(config, TransformersConfig):
        return writer
    return DistributedWriter(writer, config, ledger, map_shards)


@dataclass(frozen=True)
class DistributedWriter:
    """Opens the writer once on every worker and distributes the requests. Only the run writes the ledger."""

    writer: Writer
    config: TransformersConfig
    ledger: Path
    map_shards: MapShards

    @property
    def generator(self) -> str:
        """As the writer's."""
        return self.writer.generator

    @property
    def sees_pictures(self) -> int:
        """As the writer's."""
        return self.writer.sees_pictures

    def prompt_version(self, request: ExplanationRequest) -> str:
        """As the writer's."""
        return self.writer.prompt_version(request)

    def expected(self, request: ExplanationRequest) -> WriterCost:
        """As the writer's."""
        return self.writer.expected(request)

    def write(self, requests: Iterable[ExplanationRequest]) -> Iterator[WriterAnswer]:
        """Answers part by part, in the order of the requests."""
        work = partial(_written, self.config.model_dump_json(), self.ledger)
        for answers in self.map_shards(work, _parts(iter(requests), BATCHES * self.config.batch)):
            yield from answers


def _parts(requests: Iterator[ExplanationRequest], size: int) -> Iterator[list[ExplanationRequest]]:
    while part := list(islice(requests, size)):
        yield part


def _written(config: str, ledger: Path, part: list[ExplanationRequest]) -> list[WriterAnswer]:
    return list(_opened(config, ledger).write(part))


@lru_cache(maxsize=1)
def _opened(config: str, ledger: Path) -> Writer:
    return open_writer(writer_config(json.loads(config), origin="runs.dask"), ledger=ledger)
