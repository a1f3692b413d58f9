"""Load generator of ``serve.py``, a separate process with few imports; prints its measurements as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

TEXTS = [f"red kettle KX-{number:03d} with a wooden handle" for number in range(64)]


async def ask(url: str, path: str, files: list[bytes], at_once: int, count: int, seconds: float) -> dict[str, Any]:
    """Ask with ``at_once`` connections for ``count`` pictures, or texts, a time.

    How many were answered a second, how long a request took, and what became of the rest.
    """
    took: list[float] = []
    statuses: dict[int, int] = {}
    hurried = 0  # refusals that do not say when to come again
    connector = aiohttp.TCPConnector(limit=at_once)
    async with aiohttp.ClientSession(url, connector=connector) as session:
        end = time.perf_counter() + seconds

        async def caller(number: int) -> None:
            while (started := time.perf_counter()) < end:
                options = request(path, files, number, count)
                async with session.post(path, **options) as response:
                    await response.read()
                nonlocal hurried
                hurried += response.status != 200 and "Retry-After" not in response.headers
                statuses[response.status] = statuses.get(response.status, 0) + 1
                if response.status == 200:
                    took.append(1000 * (time.perf_counter() - started))
                else:
                    await asyncio.sleep(0.1)
                number += at_once * count

        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(caller(number) for number in range(at_once)))
    whole = time.perf_counter() - started
    p50, p95, p99 = np.percentile(took, [50, 95, 99]).round(1).tolist() if took else (None, None, None)
    return {
        "at_once": at_once,
        "in_a_request": count,
        "rate": round(count * len(took) / whole, 1),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "refused": round(1 - len(took) / max(1, sum(statuses.values())), 4),
        "without_retry_after": hurried,
        "statuses": statuses,
        "load_cpu_s": round(time.process_time() - cpu, 3),
    }


def request(path: str, files: list[bytes], number: int, count: int) -> dict[str, Any]:
    """A request with ``count`` pictures or texts, from the given one on."""
    if path == "/embed_texts":
        return {"json": {"texts": [TEXTS[(number + more) % len(TEXTS)] for more in range(count)]}}
    form = aiohttp.FormData()
    for more in range(count):
        form.add_field("images", files[(number + more) % len(files)], filename="p.jpg", content_type="image/jpeg")
    return {"data": form}


if __name__ == "__main__":
    address, url_path, folder, connections, each, duration = sys.argv[1:]
    contents = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    print(json.dumps(asyncio.run(ask(address, url_path, contents, int(connections), int(each), float(duration)))))
