"""The smoke test of a built Bento: serve it as it will be served, ask it, compare with the evaluator."""

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
from entityclip.errors import PackagingError
from entityclip.paths import DataLayout, StoreLayout
from entityclip.schemas import Probe, Runtime

TOLERANCE: dict[Runtime, float] = {"torch": 1e-4, "onnx": 1e-4, "onnx-int8": 0.1}
"""Of a score, by what the towers run on: int8 rounds, and its worth is measured as recall when it is exported."""
ROUNDS = 4
"""How often each probe is asked: twenty answers say what 95 of 100 take."""
START_SECONDS = 180.0
STOP_SECONDS = 15.0
ASKED_TAGS = 20
"""More tags than a probe has scores: among equal scores the last of them may trade places."""


def probe_pictures(data: DataLayout, probes: Sequence[Probe]) -> dict[str, bytes]:
    """Pair id -> the picture's bytes, as the evaluator saw them.

    Raises:
        PackagingError: A probe's picture is not in ``data``.
    """
    wanted = {probe.pair_id for probe in probes}
    rows = pairs.iter_rows(data.pairs, columns=["pair_id", "image"])
    found = {row["pair_id"]: row["image"]["bytes"] for row in rows if row["pair_id"] in wanted}
    if missing := wanted - found.keys():
        raise PackagingError(f"{data.pairs}: no pair {min(missing)}, but the evaluator probed it; evaluate these data")
    return found


class Proof(NamedTuple):
    """What a smoke test saw."""

    largest_difference: float
    """|service score - evaluator score|, the worst; at most what ``TOLERANCE`` allows."""
    latency_ms: float
    """Of 100 pictures, 95 were tagged within this, one after the other."""


def smoke(tag: str, *, store: Path, probes: Sequence[Probe], pictures: Mapping[str, bytes]) -> Proof:
    """Serve the Bento ``tag`` in a process of its own and ask it what the evaluator was asked.

    Args:
        tag: Like ``entityclip-service:v1.0.0``.
        store: BENTOML_HOME that holds it.
        probes: Scores that the evaluator saw.
        pictures: Pair id -> the bytes of its picture.

    Raises:
        PackagingError: There is nothing to compare, the service does not start, refuses, or scores otherwise.
    """
    if not any(probe.scores for probe in probes):
        raise PackagingError(f"{tag}: the evaluation has no probes, so nothing can be compared; evaluate again")
    version = tag.partition(":")[2]
    with serving(tag, store=store) as url, httpx.Client(base_url=url, timeout=60) as client:
        released = _ask(client, "/about", json={})["release"]["version"]
        if released != version:
            raise PackagingError(f"the service says that it is release {released}, expected {version}")
        for probe in probes:
            _require_found(client, probe.entity)
        worst = max(_difference(client, probe, pictures[probe.pair_id]) for probe in probes)
        if not worst <= (tolerance := TOLERANCE[settings.RUNTIME]):
            raise PackagingError(f"scores differ from the evaluator's by {worst:.2g}, at most {tolerance} expected")
        seconds = sorted(_seconds(client, pictures[probe.pair_id]) for probe in probes for _ in range(ROUNDS))
    return Proof(largest_difference=worst, latency_ms=1000 * seconds[int(0.95 * (len(seconds) - 1))])


def _seconds(client: httpx.Client, picture: bytes) -> float:
    started = time.perf_counter()
    _ask(client, "/tag", files={"image": ("probe", picture)})
    return time.perf_counter() - started


def _require_found(client: httpx.Client, entity: str) -> None:
    """Searched by its name, the entity is among the best."""
    hits = _ask(client, "/search", json={"text": entity, "k": 5, "target": "entities"})["hits"]
    if entity not in [hit["entity"] for hit in hits if hit["exact"]]:
        raise PackagingError(f"the service does not find {entity!r} by its own name; it answered {hits}")


def _difference(client: httpx.Client, probe: Probe, picture: bytes) -> float:
    """Largest difference between a tag's score and the evaluator's."""
    answer = _ask(client, "/tag", data={"k": str(ASKED_TAGS)}, files={"image": ("probe", picture)})
    scores = {tag["entity"]: tag["score"] for tag in answer["tags"]}
    if missing := probe.scores.keys() - scores.keys():
        raise PackagingError(f"pair {probe.pair_id}: the evaluator saw {min(missing)!r} here, the service does not")
    return max((abs(scores[name] - score) for name, score in probe.scores.items()), default=0.0)


def _ask(client: httpx.Client, path: str, **request: Any) -> Any:
    """The answer, as JSON."""
    try:
        response = client.post(path, **request)
    except httpx.HTTPError as error:
        raise PackagingError(f"{path}: no answer from the service: {error!r}") from error
    if response.status_code != 200:
        raise PackagingError(f"{path}: the service answered {response.status_code}: {response.text[:500]}")
    return response.json()


# ---------------------------------------------------------------- the server
@contextmanager
def serving(tag: str, *, store: Path, state: Path | None = None) -> Iterator[str]:
    """``bentoml serve TAG`` on a free loopback port while the block runs; yields its address.

    Without ``state`` it is alone: whatever state this machine's own service has, the release that is packed in
    answers, and needs no key.

    Raises:
        PackagingError: It was not ready in time, or the block raised one; the end of its log is in the message.
    """
    access = {"ENTITYCLIP_STATE": str(state or ""), "ENTITYCLIP_KEYLESS": "" if state else "local"}
    log = StoreLayout(store.resolve()).log(tag.partition(":")[2])
    log.parent.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{(port := _free_port())}"
    with log.open("wb") as output:
        serve = [sys.executable, "-P", "-m", "bentoml", "serve", tag, "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(
            [sys.executable, "-P", Path(__file__).with_name("parent_watchdog.py"), *serve],
            stdin=subprocess.PIPE,  # held by this process alone: when it is killed, the server ends too
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
        raise PackagingError(f"{tag}: {error}\nThe server's last words ({log}):\n{_tail(log)}") from error
    finally:
        _stop(server)


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        # BentoML starts a worker that cannot start again and again, and never ends by itself.
        if server.poll() is not None or b"Application startup failed" in log.read_bytes():
            raise PackagingError("the server could not start")
        with suppress(httpx.HTTPError):  # not listening yet
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise PackagingError(f"the server was not ready after {START_SECONDS:.0f} s")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Stop the server and its workers; they live in sessions of their own, so that no process group holds them all."""
    try:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    server.terminate()  # the server stops its workers itself, when it can
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
