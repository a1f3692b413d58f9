"""Smoke test of a built Bento: serve it as in production, query it, compare its scores with the evaluator's."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil

from bentos import settings
from bentos.build.package import store_environment
from entityclip.data import pairs
from entityclip.data.images import decode
from entityclip.errors import PackagingError
from entityclip.paths import DataLayout, PackageLayout, StoreLayout
from entityclip.schemas import Probe, Runtime

TOLERANCE: dict[Runtime, float] = {"torch": 1e-4, "onnx": 1e-4, "onnx-int8": 0.1, "distilled": 1e-4}
"""Largest allowed difference of a score, by runtime: from PyTorch's, and of ``distilled`` from the student's. int8
rounds; its recall is measured at export."""
ROUNDS = 4
"""Queries per probe, so that the 95th percentile of the latency is taken over twenty responses."""
START_SECONDS = 180.0
STOP_SECONDS = 15.0
QUERIED_TAGS = 20
"""More tags than a probe has scores, because tags with equal scores may swap places at the end of the list."""


def probe_pictures(data: DataLayout, probes: Sequence[Probe]) -> dict[str, bytes]:
    """Pair id -> the picture's bytes, as the evaluator saw them.

    Raises:
        PackagingError: A probe's picture is not in ``data``.
    """
    wanted = {probe.pair_id for probe in probes}
    rows = pairs.iter_rows(data.pairs, columns=["pair_id", "image"])
    found = {row["pair_id"]: row["image"]["bytes"] for row in rows if row["pair_id"] in wanted}
    if missing := wanted - found.keys():
        raise PackagingError(
            f"{data.pairs}: no pair {min(missing)}, but the evaluation has a probe for it; evaluate again on these data"
        )
    return found


def packaged_probes(package: Path, probes: Sequence[Probe], pictures: Mapping[str, bytes]) -> tuple[Probe, ...]:
    """The evaluator's scores of the same pictures over the packaged index, in this process.

    An evaluation compares a picture with those of the training split alone; a package has all pictures.

    Args:
        package: Folder of the package.
        probes: Which pictures, of which entities.
        pictures: Pair id -> bytes of its picture.

    Raises:
        CheckpointError, DataError: The package is incomplete or damaged.
    """
    from entityclip.evaluation.evaluate import probe
    from entityclip.model import checkpoint, onnx_runtime  # loads torch
    from entityclip.retrieval.index import EntityIndex

    layout = PackageLayout(package)
    model = checkpoint.load(layout.checkpoint)
    entities = EntityIndex.load(layout.entities, fingerprint=model.card.fingerprint)
    served = onnx_runtime.on(
        "distilled" if settings.RUNTIME == "distilled" else "torch", model, layout.checkpoint.exported
    )
    vectors = served.embed_images(decode(pictures[wanted.pair_id]) for wanted in probes)
    return tuple(
        probe(entities, vector, pair_id=wanted.pair_id, entity=wanted.entity)
        for wanted, vector in zip(probes, vectors, strict=True)
    )


class Proof(NamedTuple):
    """Result of a smoke test."""

    largest_difference: float
    """Largest |service score - evaluator score|, at most ``TOLERANCE``."""
    latency_ms: float
    """95th percentile of the latency of ``/tag``, one request at a time."""


def smoke(tag: str, *, store: Path, probes: Sequence[Probe], pictures: Mapping[str, bytes]) -> Proof:
    """Serve the Bento ``tag`` in a separate process and compare its scores with the evaluator's probes.

    Args:
        tag: Such as ``entityclip-service:v1.0.0``.
        store: BENTOML_HOME that holds it.
        probes: Scores of the evaluator.
        pictures: Pair id -> bytes of its picture.

    Raises:
        PackagingError: There are no probes, the service does not start, refuses a request, or its scores differ.
    """
    if not any(probe.scores for probe in probes):
        raise PackagingError(f"{tag}: the evaluation has no probes, so no scores can be compared; evaluate again")
    version = tag.partition(":")[2]
    with serving(tag, store=store) as url, httpx.Client(base_url=url, timeout=60) as client:
        released = _ask(client, "/about", json={})["release"]["version"]
        if released != version:
            raise PackagingError(f"the service reports release {released}, expected {version}")
        for probe in probes:
            _require_found(client, probe.entity)
        worst = max(_difference(client, probe, pictures[probe.pair_id]) for probe in probes)
        if not worst <= (tolerance := TOLERANCE[settings.RUNTIME]):
            raise PackagingError(f"scores differ from the evaluator's by {worst:.2g}, expected at most {tolerance}")
        seconds = sorted(_seconds(client, pictures[probe.pair_id]) for probe in probes for _ in range(ROUNDS))
    return Proof(largest_difference=worst, latency_ms=1000 * seconds[int(0.95 * (len(seconds) - 1))])


def _seconds(client: httpx.Client, picture: bytes) -> float:
    started = time.perf_counter()
    _ask(client, "/tag", files={"image": ("probe", picture)})
    return time.perf_counter() - started


def _require_found(client: httpx.Client, entity: str) -> None:
    """Check that a search for the entity's name finds it among the best five."""
    hits = _ask(client, "/search", json={"text": entity, "k": 5, "target": "entities"})["hits"]
    if entity not in [hit["entity"] for hit in hits if hit["exact"]]:
        raise PackagingError(f"the service does not find {entity!r} by its own name; it returned {hits}")


def _difference(client: httpx.Client, probe: Probe, picture: bytes) -> float:
    """Largest difference between a tag's score and the evaluator's."""
    answer = _ask(client, "/tag", data={"k": str(QUERIED_TAGS)}, files={"image": ("probe", picture)})
    scores = {tag["entity"]: tag["score"] for tag in answer["tags"]}
    if missing := probe.scores.keys() - scores.keys():
        raise PackagingError(f"pair {probe.pair_id}: the evaluator tags it {min(missing)!r}, the service does not")
    return max((abs(scores[name] - score) for name, score in probe.scores.items()), default=0.0)


def _ask(client: httpx.Client, path: str, **request: Any) -> Any:
    """The response as JSON."""
    try:
        response = client.post(path, **request)
    except httpx.HTTPError as error:
        raise PackagingError(f"{path}: no response from the service: {error!r}") from error
    if response.status_code != 200:
        raise PackagingError(f"{path}: the service returned {response.status_code}: {response.text[:500]}")
    return response.json()


# ---------------------------------------------------------------- the server
@contextmanager
def serving(tag: str, *, store: Path, state: Path | None = None) -> Iterator[str]:
    """Run ``bentoml serve TAG`` on a free loopback port while the block runs; yields its address.

    Without ``state`` the service is isolated from this machine's own state folder: it serves the release that is
    packed with it and needs no key.

    Raises:
        PackagingError: It was not ready in time, or the block raised one. The message holds the end of its log.
    """
    access = {"ENTITYCLIP_STATE": str(state or ""), "ENTITYCLIP_KEYLESS": "" if state else "local"}
    log = StoreLayout(store.resolve()).log(tag.partition(":")[2])
    log.parent.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{(port := _free_port())}"
    with log.open("wb") as output:
        serve = [sys.executable, "-P", "-m", "bentoml", "serve", tag, "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(
            [sys.executable, "-P", Path(__file__).with_name("parent_watchdog.py"), *serve],
            stdin=subprocess.PIPE,  # only this process holds it, so the server stops if this process is killed
            stdout=output,
            stderr=subprocess.STDOUT,
            env=store_environment(store.resolve()) | access,
            cwd=log.parent,
            start_new_session=True,
        )
    try:
        _wait_until_ready(server, url, log)
        yield url
    except PackagingError as error:
        raise PackagingError(f"{tag}: {error}\nEnd of the server's log ({log}):\n{_tail(log)}") from error
    finally:
        _stop(server)


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        # BentoML restarts a failing worker forever and never exits.
        if server.poll() is not None or b"Application startup failed" in log.read_bytes():
            raise PackagingError("the server did not start")
        with suppress(httpx.HTTPError):  # not listening yet
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise PackagingError(f"the server was not ready after {START_SECONDS:.0f} s")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Stop the server and its workers, which run in their own sessions outside the process group."""
    try:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    server.terminate()  # normally the server stops its workers itself
    _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS)
    for process in alive:
        process.kill()
    server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
