"""What the pictures of entities are worth to a trained model: R@1 with each vector of an entity, by slice.

python benchmarks/entity_vectors.py --checkpoint first/checkpoint --data mine --json
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from lib.entity_vectors import by_vector
from lib.machine import facts, peak_gib

from entityclip.model import checkpoint as checkpoints
from entityclip.paths import CheckpointLayout, DataLayout


def main(
    checkpoint: Annotated[Path, typer.Option(help="A trained model.")],
    data: Annotated[Path, typer.Option(help="Its data version.")],
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Print R@1 in percent by entity vector and slice as one JSON object, last."""
    started = time.monotonic()
    found = by_vector(checkpoints.load(CheckpointLayout(checkpoint)), DataLayout(data))
    if not as_json:
        for name, recalls in found.items():
            print(f"{name:12s}" + "".join(f"{value:7.1f}" for value in recalls.values()))
    answer = {"r1": found, "seconds": round(time.monotonic() - started, 1), "peak_gib": peak_gib()}
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
