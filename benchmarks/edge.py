"""One picture on one core: the image tower in PyTorch fp32, ONNX Runtime fp32, and ONNX Runtime int8.

    taskset -c 1 python benchmarks/edge.py --checkpoint DIR --data DIR --json

Each follows the path of the predictor with one thread: the square is normalised and becomes a unit vector. The three
alternate in every round; milliseconds are medians over the rounds, speed-ups are medians of the ratios within a
round. ``r1_loss`` is the loss of int8 in points of R@1 over all test pictures, on the model that was timed; ``r1``
has the slices, and ``instructions`` the processor's instructions for int8 (``benchmarks/avx2.py`` hides the newer
ones). Without --checkpoint, the demo preset is first trained on the built-in catalogue for --minutes.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

# Before anything computes: one thread everywhere.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
import typer
from lib.machine import facts, peak_gib

from entityclip import training
from entityclip.data import pairs
from entityclip.data.images import decode
from entityclip.data.ingest import ingest
from entityclip.data.sources.catalog import CatalogSource
from entityclip.evaluation.calibrate import calibrate
from entityclip.evaluation.onnx_export import LIBRARIES, RUNTIMES, export
from entityclip.explanations import SourceWriter, explain
from entityclip.model import checkpoint
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.onnx_runtime import on
from entityclip.paths import CheckpointLayout, DataLayout, ExportedLayout, Layout
from entityclip.training import presets
from entityclip.training.trainer import fit

PICTURES = 32
"""Different pictures that take turns."""


def trained(layout: Layout, *, minutes: float) -> tuple[CheckpointLayout, DataLayout]:
    """The demo preset after about so many minutes: one epoch says how many there is time for."""
    data = layout.staging
    ingest(
        CatalogSource(layout.drawn, faults=False, progress=False),
        staging=data,
        rejected=layout.rejected("catalog"),
        progress=False,
    )
    explain(data, writer=SourceWriter(), ledger=layout.ledger)
    config = presets.demo().train
    started = time.monotonic()
    _fit(config.model_copy(update={"epochs": 1}), data, layout, name="first")
    epochs = max(1, int(minutes * 60 / (time.monotonic() - started)))
    _fit(config.model_copy(update={"epochs": epochs}), data, layout, name="whole")
    model = checkpoint.load(layout.run("whole").checkpoint)
    calibrate(model, data).write(layout.run("whole").checkpoint.card)
    return layout.run("whole").checkpoint, data


def _fit(config: training.TrainConfig, data: DataLayout, layout: Layout, *, name: str) -> None:
    fit(config, data=data, data_hash="", run=layout.run(name), report=lambda *_: None, progress=False)


def squares_of(model: LoadedModel, data: DataLayout) -> list[np.ndarray]:
    """The first test pictures as the tower sees them."""
    rows = pairs.iter_rows(data.pairs, name="test", columns=["image"])
    return [model.card.preprocessing.square(decode(row["image"]["bytes"])) for row, _ in zip(rows, range(PICTURES))]  # noqa: B905


def timed(models: dict[str, LoadedModel], squares: list[np.ndarray], *, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of one picture, every model once a round, each in turn the first; the first rounds are forgotten."""
    found: dict[str, list[float]] = {name: [] for name in models}
    names, warmup = list(models), 20
    for number in range(warmup + rounds):
        square, first = squares[number % len(squares)], number % len(names)
        for name in names[first:] + names[:first]:
            started = time.perf_counter()
            models[name].embed_squares([square])
            found[name].append(1000 * (time.perf_counter() - started))
    return {name: each[warmup:] for name, each in found.items()}


def measured(source: CheckpointLayout, data: DataLayout, target: ExportedLayout, *, rounds: int) -> dict[str, Any]:
    """Export, measure recall, time."""
    model = checkpoint.load(source)
    card = export(model, data, to=target)
    torch.set_num_threads(1)
    models: dict[str, LoadedModel] = {name: on(name, model, target) for name in RUNTIMES}
    times = timed(models, squares_of(model, data), rounds=rounds)
    ratio = {
        name: median(a / b for a, b in zip(times["torch"], times[name], strict=True)) for name in ("onnx", "onnx-int8")
    }
    return {
        "int8_speedup": round(ratio["onnx-int8"], 2),
        "onnx_speedup": round(ratio["onnx"], 2),
        "r1_loss": round(card.recall["torch"]["all"] - card.recall["onnx-int8"]["all"], 2),
        "ms": {name: round(median(each), 3) for name, each in times.items()},
        "r1": {name: {part: round(value, 1) for part, value in each.items()} for name, each in card.recall.items()},
        "instructions": card.measured_on,
        "methods": card.methods,
        "size": model.card.preprocessing.size,
        "epochs": model.card.epochs,
        "libraries": {name: card.versions[name] for name in LIBRARIES},
    }


def main(
    checkpoint: Annotated[Path | None, typer.Option(help="A trained model; it is not written to.")] = None,
    data: Annotated[Path | None, typer.Option(help="The data that it was trained on.")] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="Without --checkpoint: how long to train.")] = 4.0,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds of the three.")] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Time the three and print one JSON object, last."""
    if (checkpoint is None) != (data is None):
        typer.echo("--checkpoint and --data go together: the model, and what it was trained on", err=True)
        raise typer.Exit(2)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        if checkpoint is not None and data is not None:
            source, pictures = CheckpointLayout(checkpoint), DataLayout(data)
        else:
            typer.echo(f"no --checkpoint: training the demo preset for about {minutes:g} minutes first", err=True)
            source, pictures = trained(layout, minutes=minutes)
        answer = measured(source, pictures, ExportedLayout(Path(folder) / "onnx"), rounds=rounds)
    answer |= {"threads": 1, "rounds": rounds, "peak_gib": peak_gib()}
    if not as_json:
        for name, ms in answer["ms"].items():
            print(f"{name:10} {ms:8.3f} ms   R@1 {answer['r1'][name]['all']:.1f}")
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
