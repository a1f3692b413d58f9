"""How much a figure changes between trainings that differ only in their seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from pydantic import Field
from scipy import stats

from entityclip.evaluation.paired import Z, recalled, won_queries
from entityclip.experiments.train_and_evaluate import Measurement, train_and_evaluate
from entityclip.paths import AblationLayout, DataLayout
from entityclip.schemas import PromotionPolicy, Record, Split
from entityclip.training import TrainConfig, run_key


class SeedDeviation(Record):
    """The deviation between seeds of the metric that decides promotions, in points."""

    values: tuple[float, ...] = Field(description="The metric with each seed.")
    deviation: float = Field(
        description="Standard deviation of the models themselves: that of the values without the part that comes from "
        "the sampling of the queries, which the interval of a gain covers already."
    )
    sampling: float = Field(description="Standard deviation that comes from the sampling of the queries.")
    bound: float = Field(
        description="promotion.seed_deviation: the deviation times Student's t over the normal quantile, so that an "
        "interval with it holds although it was estimated from few seeds."
    )


def train_seeds(
    config: TrainConfig,
    *,
    data: DataLayout,
    data_hash: str,
    to: AblationLayout,
    seeds: int,
    split: Split = "test",
    progress: bool = True,
) -> Iterator[Measurement]:
    """Train and evaluate with seed 0, 1, 2 ...; results of an earlier call are reused.

    Args:
        config: Training settings; its seed is replaced.
        data: The training data.
        data_hash: Its hash.
        to: Folder of the results.
        seeds: Number of trainings.
        split: Whose pictures are the queries.
        progress: Show bars.
    """
    for seed in range(seeds):
        seeded = config.model_copy(update={"seed": seed})
        key = run_key(seeded, data_hash=data_hash)
        run = to.run(f"seed-{seed}", key=key)
        yield train_and_evaluate(
            seeded, make_data=lambda: data, key=key, run=run, decoded=to.decoded, split=split, progress=progress
        )


def seed_deviation(answers: Sequence[pd.DataFrame], *, policy: PromotionPolicy) -> SeedDeviation:
    """The deviation between models of different seeds, from the evaluator's rows of each, at least two.

    The variance of the values has two parts. One remains on infinitely many queries: the models' own. The other is half
    of the sampling variance of a paired difference, clustered by entity, and is subtracted.
    """
    values = [float(recalled(rows, policy=policy)["hit"].mean()) for rows in answers]
    pairs = [won_queries(one, other, policy=policy) for one, other in combinations(answers, 2)]
    sampling = float(np.mean([clustered_variance(rows) for rows in pairs]) / 2)
    deviation = math.sqrt(max(0.0, float(np.var(values, ddof=1)) - sampling))
    few = float(stats.t.ppf(0.975, len(values) - 1)) / Z
    return SeedDeviation(values=tuple(values), deviation=deviation, sampling=math.sqrt(sampling), bound=deviation * few)


def clustered_variance(rows: pd.DataFrame) -> float:
    """Sampling variance of the mean of ``won``, where an entity comes or stays away with all its queries."""
    of_entity = (rows["won"] - rows["won"].mean()).groupby(rows["entity_id"]).sum()
    return float((of_entity**2).sum() / len(rows) ** 2)
