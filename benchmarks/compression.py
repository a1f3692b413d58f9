"""What a faster runtime costs: recall by slice, milliseconds and megabytes of PyTorch, ONNX Runtime fp32 and int8.

    taskset -c 1 python benchmarks/compression.py --checkpoint DIR --data DIR --json

Recall is that of the release's gate, on all pictures of --split: ``int8_loss`` is the largest loss of int8 in points of
R@1 over all queries and over the slices by training pictures; ``shipping`` has every slice with its interval, and
whether the runtime would ship with --budget. Times follow the path of the predictor with one picture and one thread:
the square is normalised and becomes a unit vector. The three alternate in every round; milliseconds are medians over
the rounds, speed-ups are medians of the ratios within a round. ``instructions`` are the processor's for int8: figures
and decisions hold for them (``benchmarks/avx2.py`` hides the newer ones). Megabytes are those of the
encoders' files; for torch, of the whole checkpoint.
With --distil, a student for pictures of so many pixels learns from the model for --distil-minutes:
``distilled_speedup`` is against its teacher, both on ONNX Runtime fp32, and ``distilled_loss`` the largest loss in
points over all queries and the slices, each with its own index and calibration.
Without --checkpoint, the demo preset is first trained on the built-in catalogue for --minutes.
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
from entityclip.evaluation.compression import compare_student, decide_runtime
from entityclip.evaluation.compression_policy import EXPORTED, CompressionPolicy
from entityclip.evaluation.onnx_export import LIBRARIES, export
from entityclip.explanations import SourceWriter, explain
from entityclip.model import checkpoint
from entityclip.model.checkpoint import LoadedModel
from entityclip.model.onnx_runtime import TOWERS, ExportCard, on
from entityclip.paths import CheckpointLayout, DataLayout, ExportedLayout, Layout
from entityclip.schemas import ExportedRuntime, OpenSplit
from entityclip.training import presets
from entityclip.training.distillation import distil
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


def squares_of(model: LoadedModel, data: DataLayout, split: OpenSplit) -> list[np.ndarray]:
    """The first pictures of the split as the tower sees them."""
    rows = pairs.iter_rows(data.pairs, name=split, columns=["image"])
    return [model.card.preprocessing.square(decode(row["image"]["bytes"])) for row, _ in zip(rows, range(PICTURES))]  # noqa: B905


def timed(
    models: dict[str, LoadedModel], squares: dict[str, list[np.ndarray]], *, rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of one picture, every model once a round, each in turn the first; the first rounds are forgotten."""
    found: dict[str, list[float]] = {name: [] for name in models}
    names, warmup = list(models), 20
    for number in range(warmup + rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            square = squares[name][number % len(squares[name])]
            started = time.perf_counter()
            models[name].embed_squares([square])
            found[name].append(1000 * (time.perf_counter() - started))
    return {name: each[warmup:] for name, each in found.items()}


EVERYTHING = CompressionPolicy(runtimes=EXPORTED, budget=100)
"""With a budget of 100 points every runtime is kept, so that it can be timed."""


def student_of(model: LoadedModel, data: DataLayout, folder: Path, *, config: training.Distillation) -> LoadedModel:
    """A calibrated student of the model, on PyTorch, with its towers exported beside it."""
    layout = CheckpointLayout(folder)
    distil(model, data, config=config, to=layout, data_hash=model.card.data_hash, progress=False)
    calibrate(checkpoint.load(layout), data).write(layout.card)
    student = checkpoint.load(layout)
    export(student, data, to=layout.exported, policy=EVERYTHING)
    return student


def measured(
    source: CheckpointLayout,
    data: DataLayout,
    target: ExportedLayout,
    *,
    split: OpenSplit,
    budget: float,
    rounds: int,
    student: training.Distillation | None,
) -> dict[str, Any]:
    """Export, measure recall, time."""
    model = checkpoint.load(source)
    card = export(model, data, to=target, policy=EVERYTHING, split=split)
    models: dict[str, LoadedModel] = {"torch": model} | {name: on(name, model, target) for name in EXPORTED}
    answer: dict[str, Any] = {}
    if student is not None:
        distilled = student_of(model, data, target.root / "student", config=student)
        assert distilled.place is not None
        models["distilled"] = on("onnx", distilled, distilled.place.exported)
        ours, theirs = (found.by_slice for found in compare_student(distilled, model, data, split=split))
        answer |= {"distilled_loss": round(max(theirs[part] - ours[part] for part in theirs), 2), "student_r1": ours}
        answer |= {"student": student.model_dump(), "steps": distilled.card.metrics["steps"]}
    torch.set_num_threads(1)
    times = timed(models, {name: squares_of(each, data, split) for name, each in models.items()}, rounds=rounds)
    if "distilled" in times:
        pairs_of_times = zip(times["onnx"], student_times := times.pop("distilled"), strict=True)
        answer["distilled_speedup"] = round(median(a / b for a, b in pairs_of_times), 2)
        answer["student_ms"] = round(median(student_times), 3)
    ratio = {name: median(a / b for a, b in zip(times["torch"], times[name], strict=True)) for name in EXPORTED}
    files = {"torch": [source.weights]} | {n: [target.tower(tower, runtime=n) for tower in TOWERS] for n in EXPORTED}
    torchs, int8 = card.recall["torch"], card.recall["onnx-int8"]
    return answer | {
        "int8_loss": round(max(torchs[part] - int8[part] for part in torchs), 2),
        "int8_speedup": round(ratio["onnx-int8"], 2),
        "onnx_speedup": round(ratio["onnx"], 2),
        "runtimes": {
            name: {
                "ms": round(median(each), 3),
                "mb": round(sum(path.stat().st_size for path in files[name]) / 1e6, 2),
                "r1": {part: round(value, 1) for part, value in card.recall[name].items()},
            }
            for name, each in times.items()
        },
        "shipping": {name: shipping(card, name, budget=budget) for name in EXPORTED},
        "budget": budget,
        "instructions": card.measured_on,
        "methods": card.methods,
        "size": model.card.preprocessing.size,
        "epochs": model.card.epochs,
        "libraries": {name: card.versions[name] for name in LIBRARIES},
    }


def shipping(card: ExportCard, runtime: ExportedRuntime, *, budget: float) -> dict[str, Any]:
    """Whether the runtime ships, and the interval of every slice."""
    changes = card.decisions[runtime].changes
    decision = decide_runtime(changes, budget=budget, measured_on=card.measured_on)
    intervals = {c.slice: [round(c.points, 2), round(c.low, 2), round(c.high, 2), c.queries] for c in changes}
    return {"ships": decision.ships, "reasons": decision.reasons, "change": intervals}


def main(
    checkpoint: Annotated[Path | None, typer.Option(help="A trained model; it is not written to.")] = None,
    data: Annotated[Path | None, typer.Option(help="The data that it was trained on.")] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="Without --checkpoint: how long to train.")] = 4.0,
    split: Annotated[OpenSplit, typer.Option(help="Whose pictures are the queries.")] = "test",
    budget: Annotated[float, typer.Option(min=0, max=100, help="Points of R@1 that a runtime may lose.")] = 1.0,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds of all.")] = 500,
    distil_size: Annotated[
        int | None, typer.Option("--distil", min=8, help="Also a student for pictures of this side, pixels.")
    ] = None,
    distil_minutes: Annotated[float, typer.Option(min=0.01, help="With --distil: how long it learns.")] = 8.0,
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
        target = ExportedLayout(Path(folder) / "onnx")
        student = training.Distillation(size=distil_size, minutes=distil_minutes) if distil_size else None
        answer = measured(source, pictures, target, split=split, budget=budget, rounds=rounds, student=student)
    answer |= {"threads": 1, "rounds": rounds, "peak_gib": peak_gib()}
    if not as_json:
        for name, found in answer["runtimes"].items():
            print(f"{name:10} {found['ms']:8.3f} ms {found['mb']:8.2f} MB   R@1 {found['r1']['all']:.1f}")
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
