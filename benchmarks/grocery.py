"""Real photographs, from scratch, on the CPU: recall of 81 grocery products after a given number of minutes.

    python benchmarks/grocery.py --source ../shared/grocery --minutes 10 --json

The minutes include everything from reading the pictures to the last metric. A few steps are timed first, to choose the
number of epochs that fit. Validation pictures select nothing: the preset is fixed and the last weights are evaluated.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from lib.machine import facts, peak_gib

from entityclip.data.ingest import ingest
from entityclip.data.pairs import require_complete
from entityclip.data.sources import SourceOptions, open_source
from entityclip.evaluation.evaluate import evaluate
from entityclip.explanations import SourceWriter, explain
from entityclip.model import checkpoint
from entityclip.paths import DataLayout, Layout
from entityclip.reports.run_report import slice_table
from entityclip.training import TrainConfig, batches, presets
from entityclip.training.step import TrainingJob
from entityclip.training.text_settings import settle_texts
from entityclip.training.trainer import fit

SPARE = 0.23
"""Share of the time kept for reading, evaluation and saved states; long runs also step slower than a few steps do."""


def seconds_of_an_epoch(config: TrainConfig, data: DataLayout) -> float:
    """Mean over the run's epochs, from the measured cost of a step on small and on full pictures."""
    kept = config.preprocessing.model_copy(update={"size": config.kept_side})
    with tempfile.TemporaryDirectory() as folder:
        config = settle_texts(config, data, folder=Path(folder))
    job = TrainingJob(config, batches.load_training_set(data, preprocessing=kept, progress=False))
    costs = []
    for epoch in (0, config.epochs - 1):
        numbers = [n for n, (e, _) in enumerate(job.steps.plan) if e == epoch][:9]
        job.step(numbers[0], job.steps[numbers[0]])  # the first step allocates
        times = []
        for number in numbers[1:]:
            prepared = job.steps[number]  # decoded here; training reads pictures that were decoded once
            started = time.monotonic()
            job.step(number, prepared)
            job.require_finite()
            times.append(time.monotonic() - started)
        costs.append(statistics.median(times))  # whatever else the machine did in between
    steps = sum(1 for epoch, _ in job.steps.plan if epoch == 0)
    return steps * (config.small_until * costs[0] + (1 - config.small_until) * costs[1])


def main(
    source: Annotated[Path, typer.Option(help="Folder of the Grocery Store data set.")],
    minutes: Annotated[float, typer.Option(help="For everything: reading, training, evaluation.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Train the grocery preset from scratch and print recall as one JSON object, last."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        opened, rejected = (
            open_source(SourceOptions(source="grocery", path=source), layout=layout),
            layout.rejected("grocery"),
        )
        ingest(opened, staging=layout.staging, rejected=rejected)
        explain(layout.staging, writer=SourceWriter(), ledger=layout.ledger)
        config = presets.grocery().train
        cost = seconds_of_an_epoch(config, layout.staging)
        left = 60 * minutes * (1 - SPARE) - (time.monotonic() - started)
        epochs = max(1, int(left / cost))
        config = config.model_copy(update={"epochs": epochs})
        run = layout.run("grocery")
        fit(config, data=layout.staging, data_hash="", run=run, report=lambda *_: None, progress=not as_json)
        model = checkpoint.load(run.checkpoint)
        counts = require_complete(layout.staging)
        reports = {
            split: evaluate(model, layout.staging, split=split, progress=False)[0]
            for split in ("val", "test")
            if counts.get(split)
        }
    for split, report in reports.items():
        if not as_json:
            print(f"\n{split}\n{slice_table(report)}")
    figures = {split: report.value("R@1", index="caption") for split, report in reports.items()}
    answer = {
        "val_r1": figures.get("val"),
        "test_r1": figures.get("test"),
        "seconds": round(time.monotonic() - started, 1),
        "peak_gib": peak_gib(),
        "epochs": epochs,
    }
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
