"""Time and memory of the published evaluation: N pictures and N texts query each other, with all metrics.

    python benchmarks/retrieval.py --pairs 100000 --json

Vectors are random, and each text is a noisy copy of its picture's, so that nothing must be trained or embedded first.
All N x N similarities are computed block by block.
"""

from __future__ import annotations

import json
import resource
import time
from typing import Annotated

import numpy as np
import typer
from lib.machine import facts

from entityclip.retrieval import metrics
from entityclip.retrieval.vectors import unit


def peak_gib() -> float:
    """Peak memory of this process in GiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(
    pairs: Annotated[int, typer.Option(min=2, help="Pictures, and as many texts.")] = 100_000,
    width: Annotated[int, typer.Option(min=1, help="Of the joint space.")] = 512,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Rank in both directions, compute the intervals, and print one JSON object last."""
    rng = np.random.default_rng(0)
    pictures = unit(rng.standard_normal((pairs, width), dtype=np.float32))
    texts = unit(pictures + 0.25 * rng.standard_normal((pairs, width), dtype=np.float32))
    before, started, cpu = peak_gib(), time.monotonic(), time.process_time()
    directions = metrics.both_ways(pictures, texts)
    ranked = time.process_time()
    for direction in directions:
        figures = metrics.rank_figures(direction.rank, np.arange(pairs), candidates=pairs, seed=0)
        if not as_json:
            print("  ".join(f"{f.name} {f.value:.2f} [{f.low:.2f}, {f.high:.2f}]" for f in figures))
    answer = {
        "pairs": pairs,
        "width": width,
        "ranks_cpu_s": round(ranked - cpu, 1),
        "figures_cpu_s": round(time.process_time() - ranked, 1),
        "seconds": round(time.monotonic() - started, 1),
        "peak_gib": round(peak_gib(), 2),
        "peak_gib_before": round(before, 2),
    }
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
