"""Train and measure under one key: what studies of the method, of the rules and of the data have in common."""

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
    """What one training gave, and what it took."""

    evaluation: EvalReport
    seconds: float = Field(description="Of training; of a run that was killed, only since it was taken up again.")
    device: str


class Measurement(NamedTuple):
    """The figures, and the rank of the truth for every single query."""

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
    """Train, calibrate on validation pictures, measure on ``split``; what was measured before is read.

    Args:
        config: How to train.
        make_data: On what; called only where nothing was measured before.
        key: Hash of everything that decides the figures; ``run`` belongs to it alone.
        run: Where state, weights and figures are kept; a killed run goes on from there.
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
    measured.write(run.measured)  # last: it says that the queries are whole
    return Measurement(measured, queries)
