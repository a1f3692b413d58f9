"""Overhead of the service: its rate against the batched rate in one process, its latency and its memory.

    python benchmarks/serve.py --package DIR/.entityclip/bentoml/models/entityclip-model/v1.0.0 --json
    python benchmarks/serve.py --package FOLDER --minutes 10 --json

A separate process sends requests over loopback and uses the same cores, so that the rate is that of a machine that does
both. It sends one picture per request, as people do, and as many as a request may contain, as programs do.
``served_over_inprocess`` is the best rate whose p95 is within twice ``batch_ms``, divided by the rate of this process
with pictures decoded and embedded in batches of 64; ``one_a_request`` is the same for requests of one picture, and
``texts_served_over_inprocess`` and ``one_text_a_request`` are those of texts. ``p95_ms`` belongs to the first.
``overload`` uses four times as many connections as a worker accepts: accepted requests are served in time, the others
get Retry-After.

On a machine with few cores, the work of the load generator cannot be hidden. CPU seconds are therefore counted as well:
of this process, of the server with its workers, and of the load generator. ``cpu_one_a_request`` is the CPU time per
picture in this process divided by that of the server per answered picture: the ratio if the load came from another
machine. This process decodes pictures one after the other; the server decodes on every core.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from lib.jpegs import jpegs
from lib.load_client import TEXTS
from lib.machine import facts

from bentos import settings
from bentos.build.smoke_test import serving
from bentos.schemas.requests import MOST_PICTURES, MOST_TEXTS
from entityclip.data.images import decode
from entityclip.retrieval.predictor import Predictor

PICTURES = 64
AT_ONCE = (1, 8, 32, 64, 128)
FULL_AT_ONCE = (1, 2, 4)
"""Concurrent requests if each holds as many items as allowed."""
OVERLOAD = 4 * settings.MAX_CONCURRENCY * settings.WORKERS


def written(files: list[bytes], folder: Path) -> Path:
    """Write the pictures to files."""
    folder.mkdir()
    for number, file in enumerate(files):
        (folder / f"{number:03d}.jpg").write_bytes(file)
    return folder


# ---------------------------------------------------------------- in one process
def inprocess(package: Path, files: list[bytes], *, seconds: float) -> dict[str, float]:
    """Pictures and texts per second in batches, milliseconds per batch, CPU milliseconds per picture and per text."""
    predictor = Predictor.load(package)

    def rate(embed: Any) -> tuple[float, float]:
        embed()
        done, started, cpu = 0, time.perf_counter(), time.process_time()
        while (spent := time.perf_counter() - started) < seconds:
            done += len(embed())
        return done / spent, 1000 * (time.process_time() - cpu) / done

    pictures, picture_cpu = rate(lambda: predictor.embed_images(decode(file) for file in files))
    texts, text_cpu = rate(lambda: predictor.embed_texts(TEXTS))
    return {
        "pictures_s": pictures,
        "texts_s": texts,
        "batch_ms": 1000 * PICTURES / pictures,
        "picture_cpu_ms": picture_cpu,
        "text_cpu_ms": text_cpu,
    }


# ---------------------------------------------------------------- over loopback
def load(url: str, path: str, files: Path, at_once: int, seconds: float, *, count: int = 1) -> dict[str, Any]:
    """Send requests with ``count`` items over ``at_once`` connections from a separate process; CPU ms per item."""
    script = Path(__file__).with_name("lib") / "load_client.py"
    command = [sys.executable, str(script), url, path, str(files), str(at_once), str(count), str(seconds)]
    before = server_cpu_seconds()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + 300)
    spent, seen = server_cpu_seconds() - before, json.loads(done.stdout)
    answers = count * max(1, seen["statuses"].get("200", 0))
    return seen | {
        "server_cpu_ms": round(1000 * spent / answers, 3),
        "load_cpu_ms": round(1000 * seen["load_cpu_s"] / answers, 3),
    }


def fastest(every: list[dict[str, Any]], *, within_ms: float) -> dict[str, Any]:
    """The best rate whose p95 is in time; if there is none, the one with the lowest p95."""
    in_time = [figures for figures in every if figures["p95_ms"] <= within_ms]
    return max(in_time, key=lambda f: f["rate"]) if in_time else min(every, key=lambda f: f["p95_ms"])


# ---------------------------------------------------------------- the server
@contextmanager
def served(package: Path) -> Iterator[tuple[str, Path]]:
    """Start the service with this package in a separate store; its address, and the folder of the store."""
    home = Path(tempfile.mkdtemp(prefix="entityclip-serve-"))
    try:
        os.environ["BENTOML_HOME"] = str(home)
        import bentoml

        from bentos.service import Arguments

        with bentoml.models.create(Arguments().model) as model:
            shutil.copytree(package, model.path, dirs_exist_ok=True)
        with serving("bentos.service:EntityClip", store=home) as url:
            yield url, home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def server_processes() -> list[psutil.Process]:
    """The server and its workers."""
    return [p for p in psutil.Process().children(recursive=True) if "bentoml" in " ".join(p.cmdline())]


def server_mib() -> float:
    """Memory of the server and its workers."""
    return sum(process.memory_info().rss for process in server_processes()) / 2**20


def server_cpu_seconds() -> float:
    """CPU time that the server and its workers have used so far."""
    return sum(sum(process.cpu_times()[:2]) for process in server_processes())


def main(
    package: Annotated[Path, typer.Option(help="Folder of a package.", exists=True, file_okay=False)],
    seconds: Annotated[float, typer.Option(min=1, help="Of each measurement.")] = 20,
    minutes: Annotated[float, typer.Option(min=0, help="Of load for the memory; 0 leaves it out.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Measure in one process, then over loopback, and print one JSON object last."""
    files = list(jpegs(PICTURES))
    alone = inprocess(package, files, seconds=seconds)
    with served(package) as (url, home):
        folder = written(files, home / "pictures")
        load(url, "/embed_images", folder, 8, 3)  # warm
        pictures, texts = (
            [load(url, path, folder, at_once, seconds) for at_once in AT_ONCE]
            + [load(url, path, folder, at_once, seconds, count=most) for at_once in FULL_AT_ONCE]
            for path, most in (("/embed_images", MOST_PICTURES), ("/embed_texts", MOST_TEXTS))
        )
        overload = load(url, "/embed_images", folder, OVERLOAD, seconds)
        growth = None
        if minutes:
            before = server_mib()
            load(url, "/embed_images", folder, 32, 60 * minutes)
            growth = round(server_mib() / before - 1, 4)
    for figures in () if as_json else (*pictures, *texts, overload):
        print(figures)
    limit = 2 * alone["batch_ms"]
    best, best_texts = (fastest(every, within_ms=limit) for every in (pictures, texts))
    one, one_text = (
        fastest([f for f in every if f["in_a_request"] == 1], within_ms=limit) for every in (pictures, texts)
    )
    answer = {
        "served_over_inprocess": round(best["rate"] / alone["pictures_s"], 3),
        "one_a_request": round(one["rate"] / alone["pictures_s"], 3),
        "cpu_one_a_request": round(alone["picture_cpu_ms"] / one["server_cpu_ms"], 3),
        "texts_served_over_inprocess": round(best_texts["rate"] / alone["texts_s"], 3),
        "one_text_a_request": round(one_text["rate"] / alone["texts_s"], 3),
        "load_share_of_cpu": round(one["load_cpu_ms"] / (one["load_cpu_ms"] + one["server_cpu_ms"]), 3),
        "p95_ms": best["p95_ms"],
        "one_p95_ms": one["p95_ms"],
        "batch_ms": round(alone["batch_ms"], 1),
        "memory_growth": growth,
        "inprocess": {name: round(value, 3) for name, value in alone.items()},
        "pictures": pictures,
        "texts": texts,
        "overload": overload,
    }
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
