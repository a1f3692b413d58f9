"""What more pictures are worth: the same training on parts of the training pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from entityclip.data.variants import with_training_share
from entityclip.evaluation.paired import paired_gain
from entityclip.experiments.train_and_evaluate import Measurement, train_and_evaluate
from entityclip.paths import DataLayout, LearningCurveLayout
from entityclip.reports.plots import COLOURS, STYLE, as_svg
from entityclip.schemas import PromotionPolicy, Record, Split
from entityclip.training import TrainConfig, run_key

MORE = 100
"""Pictures whose gain is estimated."""


class TrainedPart(Record):
    """A training on a part of the training pictures."""

    share: float = Field(description="Of the training pictures, 0 to 1.")
    pictures: int
    value: float = Field(description="The metric, percent.")
    low: float = Field(description="Lower end of its 95 % interval.")
    high: float
    seconds: float = Field(description="Of the training.")


class MeasuredDifference(Record):
    """A difference in points with its 95 % interval, which includes the deviation between seeds."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> MeasuredDifference:
        """The difference and its interval, ``factor`` times as large."""
        return MeasuredDifference(value=factor * self.value, low=factor * self.low, high=factor * self.high)


class LearningCurve(Record):
    """R@1 by the number of training pictures."""

    model: str = Field(description="Fingerprint of the champion whose settings were trained.")
    data_hash: str
    epochs: int | None = Field(description="In place of the champion's; None: the curve is that of its settings.")
    metric: str
    index: str
    points: tuple[TrainedPart, ...] = Field(description="The smallest part first.")
    gain: MeasuredDifference = Field(description="Points from the last part but one to the last, on the same queries.")
    per_hundred: MeasuredDifference = Field(
        description="Points that 100 more pictures add to the last part, if each doubling adds as much as measured."
    )


def train_parts(
    config: TrainConfig,
    *,
    data: DataLayout,
    data_hash: str,
    to: LearningCurveLayout,
    shares: Sequence[float],
    split: Split = "test",
    progress: bool = True,
) -> list[Measurement]:
    """Train and evaluate on each part; results of an earlier call are reused.

    A smaller part is contained in a larger one. Validation and test pictures, entities and explanations stay.

    Args:
        config: Training settings.
        data: The training data.
        data_hash: Its hash.
        to: Folder of the results.
        shares: Of the training pictures, ascending.
        split: Whose pictures are the queries.
        progress: Show bars.
    """
    found = []
    for share in shares:

        def part(share: float = share) -> DataLayout:
            into = to.data(f"{share:g}")
            with_training_share(data, share, into=into, seed=config.seed)
            return into

        key = run_key(config, data_hash=f"{data_hash} {share:g}")
        run = to.run(f"{share:g}", key=key)
        found.append(
            train_and_evaluate(
                config, make_data=part, key=key, run=run, decoded=to.decoded, split=split, progress=progress
            )
        )
    return found


def learning_curve(
    trained: Sequence[Measurement],
    *,
    shares: Sequence[float],
    pictures: Sequence[int],
    policy: PromotionPolicy,
    model: str,
    data_hash: str,
    epochs: int | None = None,
) -> LearningCurve:
    """The curve of at least two trainings, the smallest part first.

    Args:
        trained: What ``train_parts`` found.
        shares: Of the training pictures, as trained.
        pictures: Number of training pictures of each.
        policy: Names index and metric, and has the deviation between seeds.
        model: Fingerprint of the champion.
        data_hash: Hash of its data.
        epochs: Of the trainings, where they are not the champion's.
    """
    points = []
    for one, share, count in zip(trained, shares, pictures, strict=True):
        (metric,) = (
            metric
            for metric in one.measured.evaluation.metrics
            if (metric.name, metric.index, metric.direction, metric.slice)
            == (policy.metric, policy.index, "image_to_text", "all")
        )
        points.append(
            TrainedPart(
                share=share,
                pictures=count,
                value=metric.value,
                low=metric.low,
                high=metric.high,
                seconds=one.measured.seconds,
            )
        )
    found = paired_gain(trained[-1].queries, trained[-2].queries, policy=policy)
    assert found is not None, policy.metric
    gain = MeasuredDifference(value=found.points, low=found.low, high=found.high)
    last = pictures[-1]
    doublings = math.log2((last + MORE) / last) / math.log2(last / pictures[-2])
    return LearningCurve(
        model=model,
        data_hash=data_hash,
        epochs=epochs,
        metric=policy.metric,
        index=policy.index,
        points=tuple(points),
        gain=gain,
        per_hundred=gain.scaled(doublings),
    )


def plot(curve: LearningCurve) -> str:
    """The metric with its interval, by the number of training pictures; SVG."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.0), layout="constrained")
        axes = figure.subplots()
        pictures = [point.pictures for point in curve.points]
        values = [point.value for point in curve.points]
        ends = np.array([(point.value - point.low, point.high - point.value) for point in curve.points]).T
        axes.errorbar(pictures, values, yerr=ends, color=COLOURS["mixed"], marker="o", capsize=3)
        axes.set_xscale("log", base=2)
        axes.set_xticks(pictures, [f"{count:,}" for count in pictures])
        axes.minorticks_off()
        axes.set(xlabel="training pictures", ylabel=f"{curve.metric}, percent")
        axes.grid(alpha=0.5)
        return as_svg(figure, name="learning-curve")
