"""Train and evaluate one run, cached by key; shared by the ablation and the gate report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pandas as pd
from pydantic import Field

from entityclip.evaluation.calibrate import calibrate
from entityclip.evaluation.evaluate import evaluate
from entityclip.model import checkpoint
from entityclip.paths import DataLayout, DecodedLayout, RunLayout
from entityclip.schemas import EvalReport, Record, Split
from entityclip.training import TrainConfig
from entityclip.training.trainer import fit


class TrainingResult(Record):
    """Metrics and cost of one training run."""

    evaluation: EvalReport
    seconds: float = Field(description="Training time; of a resumed run, only since it was resumed.")
    device: str


class Measurement(NamedTuple):
    """The result, and the rank of the true entity for every query."""

    measured: TrainingResult
    queries: pd.DataFrame


def train_and_evaluate(
    config: TrainConfig,
    *,
    make_data: Callable[[], DataLayout],
    key: str,
    run: RunLayout,
    decoded: DecodedLayout,
    split: Split = "test",
    progress: bool = True,
) -> Measurement:
    """Train, calibrate on validation pictures, evaluate on ``split``; an earlier result is reused.

    Args:
        config: Training settings.
        make_data: Makes the data; called only without an earlier result.
        key: Hash of everything that determines the result; ``run`` belongs to it alone.
        run: Folder of state, weights and result; a killed run resumes from it.
        decoded: Decoded pictures that runs share.
        split: Whose pictures are the queries.
        progress: Show bars.
    """
    known = TrainingResult.read(run.measured)
    if known is not None:
        return Measurement(known, pd.read_parquet(run.queries))
    data, started = make_data(), time.monotonic()
    fit(config, data=data, data_hash=key, run=run, report=lambda *_: None, decoded=decoded, progress=progress)
    seconds = time.monotonic() - started
    model = checkpoint.load(run.checkpoint)
    model = replace(model, card=calibrate(model, data))
    evaluation, queries = evaluate(model, data, split=split, progress=False)
    queries.to_parquet(run.queries, index=False)
    measured = TrainingResult(evaluation=evaluation, seconds=seconds, device=config.device)
    measured.write(run.measured)  # last: marks the queries as complete
    return Measurement(measured, queries)
