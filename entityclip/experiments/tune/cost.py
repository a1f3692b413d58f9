"""Estimate the cost of a trial from a few training steps."""

from __future__ import annotations

import math
import tempfile
from itertools import islice
from pathlib import Path

from entityclip.data import pairs
from entityclip.paths import DataLayout, RunLayout
from entityclip.training import TrainConfig
from entityclip.training.trainer import fit

STEPS = 4
"""Steps that are timed."""


def seconds_per_epoch(config: TrainConfig, data: DataLayout) -> float:
    """Training time per epoch, from ``STEPS`` steps on the first pictures; without decoding and scoring.

    Raises:
        DataError: The data are incomplete, or hold no training pictures.
    """
    pairs.require_complete(data)
    count = len(pairs.read_frame(data.pairs, name="train", columns=["pair_id"]))
    taken: list[float] = []
    with tempfile.TemporaryDirectory(prefix="entityclip-") as folder:
        few = DataLayout(Path(folder) / "data")
        pairs.start(few)
        few.entities.symlink_to(data.entities.resolve(), target_is_directory=True)
        few.explanations.symlink_to(data.explanations.resolve(), target_is_directory=True)
        rows = islice(pairs.iter_rows(data.pairs, name="train"), STEPS * config.batch)
        pairs.write_rows(few.pairs, pairs.PAIRS, rows, name="train")
        pairs.finish(few)
        fit(
            config.model_copy(update={"epochs": 1}),
            data=few,
            data_hash="",
            run=RunLayout(Path(folder) / "run"),
            report=lambda _, terms: taken.append(terms["wait_s"] + terms["step_s"]),
            progress=False,
        )
    return taken[0] * math.ceil(count / config.batch)
