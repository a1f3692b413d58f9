"""Overhead of the orchestration: the main job, the same steps without it, and a run without changes.

    python benchmarks/overhead.py --rounds 3 --json
    python benchmarks/overhead.py --rounds 1 --preset demo --products 300 --json

Each round is a new folder and three processes: the main job (``entityclip run``), the same computation without Prefect,
Great Expectations, DVC and BentoML (``lib/no_orchestrator.py``), and the main job again with nothing changed. Seconds
are those of whole processes, imports included; results are medians over the rounds.

``overhead_s`` is the difference of the first two. ``overhead_share`` is its share of a run of ten minutes: overhead_s /
600. ``raw_share`` is its share of the measured main job, which is much shorter than a run that trains a useful model.
Costs that grow with the data (rules on rows, hashing and copying of files) are included at the measured size only: use
``--preset`` and ``--products`` for other sizes. ``same_model`` states whether both computed the same weights, bit by
bit.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from lib.machine import facts

from entityclip.data.sources.catalog import MAPPING, draw_catalog

TEN_MINUTES = 600.0


class OverheadGround:
    """A folder with a source and a home."""

    def __init__(self, root: Path, *, products: int, preset: str) -> None:
        self._root, self._preset = root, preset
        self._catalog, self._mapping = root / "catalog", root / "mapping.yaml"
        # Without faults the gate sets nothing aside, so that both ways train on the same rows.
        draw_catalog(self._catalog, products=products, faults=False)
        self._mapping.write_text(MAPPING.model_dump_json())

    def main_job(self, name: str) -> tuple[float, dict[str, Any]]:
        """Seconds of the main job in this workspace, and its last line."""
        what = ["--source", "table", "--source-path", str(self._catalog), "--mapping", str(self._mapping)]
        where = ["--preset", self._preset, "--workspace", str(self._root / name)]
        return self._timed(["-m", "entityclip", "run", *what, *where])

    def plainly(self, name: str) -> tuple[float, dict[str, Any]]:
        """Seconds of the same steps without orchestration, and the last line."""
        script = str(Path(__file__).with_name("lib") / "no_orchestrator.py")
        return self._timed(
            [script, str(self._catalog), str(self._mapping), str(self._root / name), f"--preset={self._preset}"]
        )

    def _timed(self, arguments: list[str]) -> tuple[float, dict[str, Any]]:
        home = str(self._root / "home")
        environment = os.environ | {"HOME": home, "PREFECT_HOME": home, "PYTHONPATH": str(Path.cwd())}
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
        return time.monotonic() - started, json.loads(done.stdout.splitlines()[-1])


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Of main, plain and unchanged.")] = 3,
    products: Annotated[int, typer.Option(min=20, help="Of the drawn catalogue.")] = 60,
    preset: Annotated[str, typer.Option(help="As of the main job.")] = "tiny",
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Measure; print one JSON object, last."""
    seen: dict[str, list[float]] = {"main_s": [], "plain_s": [], "unchanged_s": []}
    same = True
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        ground = OverheadGround(Path(folder), products=products, preset=preset)
        for number in range(rounds):
            main_s, _ = ground.main_job(f"main-{number}")
            plain_s, plain = ground.plainly(f"plain-{number}")
            unchanged_s, again = ground.main_job(f"main-{number}")
            if "train" not in again["reused"] or "smoke" not in again["reused"]:
                raise RuntimeError(f"the unchanged run did more than look: {again}")
            card = json.loads((Path(folder) / f"main-{number}" / "model" / "card.json").read_text())
            same = same and card["fingerprint"] == plain["fingerprint"]
            for name, seconds in zip(seen, (main_s, plain_s, unchanged_s), strict=True):
                seen[name].append(round(seconds, 2))
            if not as_json:
                print(f"main {main_s:.1f} s, plain {plain_s:.1f} s, unchanged {unchanged_s:.1f} s", flush=True)
    middle = {name: round(statistics.median(seconds), 2) for name, seconds in seen.items()}
    overhead = max(0.0, middle["main_s"] - middle["plain_s"])
    shares = {"overhead_share": round(overhead / TEN_MINUTES, 4), "raw_share": round(overhead / middle["main_s"], 4)}
    sizes = {"same_model": same, "rounds": rounds, "products": products, "preset": preset, "all": seen}
    print(json.dumps(shares | {"overhead_s": round(overhead, 2)} | middle | sizes | facts()))


if __name__ == "__main__":
    typer.run(main)
