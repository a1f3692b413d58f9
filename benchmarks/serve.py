"""What the service adds to the model: its rate against the batched rate in one process, its latency, its memory.

    python benchmarks/serve.py --package DIR/.entityclip/bentoml/models/entityclip-model/v1.0.0 --json
    python benchmarks/serve.py --package FOLDER --minutes 10 --json

A process of its own asks over loopback, and takes its part of the same cores: the rate is what a machine gives that
does both. ``served_over_inprocess`` compares the best rate with pictures decoded and embedded by the hundred in this
process; ``p95_ms`` and ``batch_ms`` are of the concurrency that reached it.
"""

from __future__ import annotations

import asyncio
import io
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import numpy as np
import psutil
import typer
from machine import facts
from PIL import Image

from bentos.smoke import serving
from entityclip.images import decode
from entityclip.predict import Predictor

SIDE = 348
PICTURES = 64
TEXTS = [f"red kettle KX-{number:03d} with a wooden handle" for number in range(64)]


def photographs() -> list[bytes]:
    """JPEGs as large as a shop's, with some structure, the same every time."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(PICTURES):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        stream = io.BytesIO()
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        files.append(stream.getvalue())
    return files


# ---------------------------------------------------------------- in one process
def inprocess(package: Path, files: list[bytes], *, seconds: float) -> dict[str, float]:
    """Pictures and texts a second, by the batch; milliseconds of a batch."""
    predictor = Predictor.load(package)

    def rate(embed: Any) -> float:
        embed()
        done, started = 0, time.perf_counter()
        while (spent := time.perf_counter() - started) < seconds:
            done += len(embed())
        return done / spent

    pictures = rate(lambda: predictor.embed_images(decode(file) for file in files))
    texts = rate(lambda: predictor.embed_texts(TEXTS))
    return {"pictures_s": pictures, "texts_s": texts, "batch_ms": 1000 * PICTURES / pictures}


# ---------------------------------------------------------------- over loopback
def load(url: str, path: str, files: list[bytes], at_once: int, seconds: float) -> dict[str, Any]:
    """Ask with ``at_once`` connections for a while, from a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_asked, (url, path, files, at_once, seconds))


def _asked(url: str, path: str, files: list[bytes], at_once: int, seconds: float) -> dict[str, Any]:
    return asyncio.run(_ask_for(url, path, files, at_once, seconds))


async def _ask_for(url: str, path: str, files: list[bytes], at_once: int, seconds: float) -> dict[str, Any]:
    took: list[float] = []
    statuses: dict[int, int] = {}
    connector = aiohttp.TCPConnector(limit=at_once)
    async with aiohttp.ClientSession(url, connector=connector) as session:
        end = time.perf_counter() + seconds

        async def caller(number: int) -> None:
            while (started := time.perf_counter()) < end:
                request = _request(path, files, number)
                async with session.post(path, **request) as response:
                    await response.read()
                statuses[response.status] = statuses.get(response.status, 0) + 1
                if response.status == 200:
                    took.append(1000 * (time.perf_counter() - started))
                else:
                    await asyncio.sleep(0.1)
                number += at_once

        started = time.perf_counter()
        await asyncio.gather(*(caller(number) for number in range(at_once)))
    whole = time.perf_counter() - started
    p50, p95, p99 = np.percentile(took, [50, 95, 99]).round(1).tolist() if took else (None, None, None)
    return {
        "at_once": at_once,
        "rate": round(len(took) / whole, 1),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "statuses": statuses,
    }


def _request(path: str, files: list[bytes], number: int) -> dict[str, Any]:
    if path == "/embed_texts":
        return {"json": {"texts": [TEXTS[number % len(TEXTS)]]}}
    form = aiohttp.FormData()
    form.add_field("images", files[number % len(files)], filename="p.jpg", content_type="image/jpeg")
    return {"data": form}


# ---------------------------------------------------------------- the server
@contextmanager
def served(package: Path) -> Iterator[str]:
    """The service on this package alone, in a store of its own."""
    home = Path(tempfile.mkdtemp(prefix="entityclip-serve-"))
    try:
        os.environ["BENTOML_HOME"] = str(home)
        import bentoml

        from bentos.service import Arguments

        with bentoml.models.create(Arguments().model) as model:
            shutil.copytree(package, model.path, dirs_exist_ok=True)
        with serving("bentos.service:EntityClip", store=home) as url:
            yield url
    finally:
        shutil.rmtree(home, ignore_errors=True)


def server_mib() -> float:
    """Memory of the server and its workers."""
    children = psutil.Process().children(recursive=True)
    return sum(p.memory_info().rss for p in children if "bentoml" in " ".join(p.cmdline())) / 2**20


def main(
    package: Annotated[Path, typer.Option(help="Folder of a package.", exists=True, file_okay=False)],
    seconds: Annotated[float, typer.Option(min=1, help="Of each measurement.")] = 20,
    minutes: Annotated[float, typer.Option(min=0, help="Of load for the memory; 0 leaves it out.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Measure in one process, then over loopback, and print one JSON object, last."""
    files = photographs()
    alone = inprocess(package, files, seconds=seconds)
    with served(package) as url:
        load(url, "/embed_images", files, 8, 3)  # warm
        pictures = [load(url, "/embed_images", files, at_once, seconds) for at_once in (1, 8, 32, 128)]
        texts = load(url, "/embed_texts", files, 32, seconds)
        growth = None
        if minutes:
            before = server_mib()
            load(url, "/embed_images", files, 32, 60 * minutes)
            growth = round(server_mib() / before - 1, 4)
    for figures in () if as_json else (*pictures, texts):
        print(figures)
    best = max(pictures, key=lambda figures: figures["rate"])
    answer = {
        "served_over_inprocess": round(best["rate"] / alone["pictures_s"], 3),
        "texts_served_over_inprocess": round(texts["rate"] / alone["texts_s"], 3),
        "p95_ms": best["p95_ms"],
        "batch_ms": round(alone["batch_ms"], 1),
        "memory_growth": growth,
        "inprocess": {name: round(value, 1) for name, value in alone.items()},
        "pictures": pictures,
        "texts": texts,
    }
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
