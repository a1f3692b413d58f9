"""How soon a canary of a broken release ends under load, and whether a request fails because of it.

    python benchmarks/canary.py --package DIR/.entityclip/bentoml/models/entityclip-model/v1.0.0 --json

The service runs with two workers, and 20 API keys send pictures to ``/tag`` at the same time, one request each. Three
copies of the package are tried, each with a share of 0.2. ``errors`` fails every request, because a precision that
callers use is not calibrated. ``unknown`` answers, but knows no picture. ``harmless`` is the same release under another
version, and has to be activated at the end of its time. ``requests_until_rollback`` is the larger number of requests
that a broken one got before the last caller had the release in service again; ``failed`` counts requests that did not
get a 200, of all callers during all three canaries.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
from lib.jpegs import jpegs
from lib.machine import facts

from bentos.build.smoke_test import serving
from bentos.middleware import keys
from bentos.runtime import active_release, canary, followers
from bentos.runtime.canary_record import CanaryRecord, CanaryReport
from bentos.runtime.manifest import seal
from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.paths import PackageLayout, StateLayout

CALLERS, SHARE, WORKERS = 20, 0.2, 2
PRECISION = "0.75"
"""Target precision of the requests, which a package does not calibrate by itself."""
BROKEN = ("errors", "unknown")
MOST_SECONDS = 120.0


# ---------------------------------------------------------------- releases
def variant(package: Path, folder: Path, *, version: str, thresholds: dict[str, float]) -> Path:
    """A copy of the package with other thresholds, under another version."""
    layout = PackageLayout(Path(shutil.copytree(package, folder)))
    card = CheckpointCard.model_validate_json(layout.checkpoint.card.read_bytes())
    card.model_copy(update={"thresholds": thresholds, "open_set": None}).write(layout.checkpoint.card)
    released = active_release.read_card(layout)
    release = released.release.model_copy(update={"version": version})
    released.model_copy(update={"release": release}).write(layout.release)
    seal(layout)
    return layout.root


def variants(package: Path, folder: Path) -> dict[str, Path]:
    """The release in service, which knows every picture, and the challengers."""
    thresholds = {
        "champion": {PRECISION: 0.0},
        "errors": {},
        "unknown": {PRECISION: 2.0},
        "harmless": {PRECISION: 0.0},
    }
    return {
        name: variant(package, folder / name, version=f"v0.0.{number}", thresholds=found)
        for number, (name, found) in enumerate(thresholds.items())
    }


# ---------------------------------------------------------------- load
async def load(
    url: str, callers: list[str], pictures: list[bytes], statuses: Counter[str], stop: asyncio.Event
) -> None:
    """Send requests of every caller, one after the other, until ``stop``; count their statuses."""

    async def caller(session: aiohttp.ClientSession, key: str, first: int) -> None:
        for number in itertools.count(first):
            if stop.is_set():
                return
            form = aiohttp.FormData({"precision": PRECISION, "k": "5"})
            form.add_field("image", pictures[number % len(pictures)], filename="p.jpg", content_type="image/jpeg")
            try:
                async with session.post("/tag", data=form, headers={"authorization": f"Bearer {key}"}) as response:
                    await response.read()
                    statuses[str(response.status)] += 1
            except aiohttp.ClientError as error:
                statuses[type(error).__name__] += 1

    async with aiohttp.ClientSession(url) as session:
        await asyncio.gather(*(caller(session, key, number) for number, key in enumerate(callers)))


def last(state: StateLayout) -> CanaryReport:
    """The canary that was started last."""
    report = CanaryRecord(state.canaries).read()
    assert report is not None
    return report


async def tried(url: str, state: StateLayout, package: Path, *, seconds: float) -> tuple[CanaryReport, Counter[str]]:
    """Run a canary under load until a second after its end; its record, and the statuses of all requests."""
    made = [keys.make(state.keys, name="load", per_minute=10**6, max_concurrency=100) for _ in range(CALLERS)]
    callers = [key.split("_")[1] for key in made]
    await asyncio.sleep(keys.LOOK_SECONDS + 0.5)
    stop, statuses = asyncio.Event(), Counter[str]()
    loading = asyncio.create_task(load(url, made, list(jpegs(32)), statuses, stop))
    duration = timedelta(seconds=seconds)
    await asyncio.to_thread(
        canary.start, state, package, callers=callers, share=SHARE, duration=duration, min_requests=20
    )
    end = time.monotonic() + seconds + MOST_SECONDS
    while last(state).outcome is None and time.monotonic() < end:
        await asyncio.sleep(0.1)
    await asyncio.sleep(1)
    stop.set()
    await loading
    return last(state), statuses


def main(
    package: Annotated[Path, typer.Option(help="Folder of a package.", exists=True, file_okay=False)],
    seconds: Annotated[float, typer.Option(min=1, help="Time of the harmless canary.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Try three challengers under load and print one JSON object last."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="entityclip-canary-") as folder:
        home = Path(folder) / "home"
        os.environ.update(BENTOML_HOME=str(home), ENTITYCLIP_WORKERS=str(WORKERS))
        import bentoml

        from bentos.service import Arguments

        packages, state = variants(package, Path(folder)), StateLayout(Path(folder) / "state")
        with bentoml.models.create(Arguments().model) as model:
            shutil.copytree(packages["champion"], model.path, dirs_exist_ok=True)
        with serving("bentos.service:EntityClip", store=home, state=state.root) as url:
            for name in (*BROKEN, "harmless"):
                followers.carry_out(state, lambda: active_release.switch(state, packages["champion"]))
                limit = seconds if name == "harmless" else MOST_SECONDS
                report, statuses = asyncio.run(tried(url, state, packages[name], seconds=limit))
                found[name] = {
                    "outcome": report.outcome,
                    "reason": report.reason,
                    "requests": report.answered + report.failed,
                    "compared": report.compared,
                    "statuses": dict(statuses),
                }
                if not as_json:
                    print(name, found[name])
    answer = {
        "requests_until_rollback": max(found[name]["requests"] for name in BROKEN),
        "failed": sum(
            count for tried_ in found.values() for status, count in tried_["statuses"].items() if status != "200"
        ),
        "rolled_back": sum(found[name]["outcome"] == "rolled back" for name in BROKEN),
        "harmless_activated": found["harmless"]["outcome"] == "activated",
        "canaries": found,
    }
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
