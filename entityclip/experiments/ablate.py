"""Ablation: the same training with parts of the method switched off, over several seeds.

Run it again after you change a loss, a source or a writer. The table has plain CLIP, the terms of the paper without the
image-explanation term, one more term at a time with it, and the complete method with explanations swapped between
entities. ``effects`` has the differences.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any, Literal, NamedTuple, get_args

import matplotlib
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import stats

from entityclip.data import pairs, resources
from entityclip.data.variants import with_explanations
from entityclip.experiments.train_and_evaluate import Measurement, train_and_evaluate
from entityclip.model.config import LossConfig
from entityclip.paths import AblationLayout, DataLayout
from entityclip.reports.plots import SLICE_TITLES
from entityclip.schemas import SLICES, EvalReport, IndexKind
from entityclip.training import TrainConfig, run_key


class AblationVariant(NamedTuple):
    """One row of the table."""

    name: str
    terms: tuple[str, ...]
    """Weights of the loss that keep their value; the others are 0."""
    swapped: float = 0.0
    """Share of the explanations that are swapped, in training and in the index."""
    against: tuple[str, ...] = ()
    """Variants that it is compared with, by name."""


WHOLE = ("explanation", "beta", "eta")
PLAIN, PAPER, ALL = "plain CLIP", "MMAE and GI-ITM alone: the paper", "+ GI-ITM: the whole"
TERMS = (
    AblationVariant(PLAIN, ()),
    AblationVariant("MMAE alone", ("beta",), against=(PLAIN,)),
    AblationVariant(PAPER, ("beta", "eta"), against=("MMAE alone", PLAIN)),
    AblationVariant("+ image-explanation", ("explanation",), against=(PLAIN,)),
    AblationVariant("+ MMAE", ("explanation", "beta"), against=("+ image-explanation",)),
    AblationVariant(ALL, WHOLE, against=("+ MMAE", PAPER)),
)
SWAPS = tuple(
    AblationVariant(f"whole, {share:.0%} swapped".replace("%", " %"), WHOLE, share, against=(ALL,))
    for share in (0.25, 0.5, 1.0)
)
VARIANTS = TERMS + SWAPS
Compared = Literal["all", "terms", "swaps"]


class AblationRun(NamedTuple):
    """One training of the ablation."""

    variant: AblationVariant
    seed: int
    config: TrainConfig

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{VARIANTS.index(self.variant)}-{self.seed}"


class Ablation(NamedTuple):
    """What all runs reached."""

    cells: pd.DataFrame
    """``variant, seed, index, slice, recall``: R@1 in percent, for each index and slice of the pictures."""
    hits: pd.DataFrame
    """``variant, seed, index, slice, entity_id, pair_id, hit``: 100 where the entity of the picture came first, else
    0."""


def runs(config: TrainConfig, *, seeds: int, compared: Compared = "all") -> list[AblationRun]:
    """All training runs, seed by seed, so that an interrupted ablation has complete tables of fewer seeds.

    ``compared`` restricts them to the terms of the loss, or to the complete method with swapped explanations.
    """
    variants = {"all": VARIANTS, "terms": TERMS, "swaps": (TERMS[-1], *SWAPS)}[compared]
    return [
        AblationRun(variant, seed, config.model_copy(update={"seed": seed, "loss": _loss(config.loss, variant)}))
        for seed in range(seeds)
        for variant in variants
    ]


def _loss(loss: LossConfig, variant: AblationVariant) -> LossConfig:
    return loss.model_copy(update={term: 0.0 for term in WHOLE if term not in variant.terms})


def ablate(
    planned: Iterable[AblationRun],
    *,
    data: DataLayout,
    data_hash: str,
    to: AblationLayout,
    report: Callable[[AblationRun, EvalReport], None],
    jobs: int = 1,
    progress: bool = True,
) -> Ablation:
    """Train and evaluate every run; results of an earlier call are reused.

    Args:
        planned: The training runs.
        data: The training data, before texts are swapped.
        data_hash: Its hash.
        to: Folder of the results.
        report: Called after each run, in the order of ``planned``.
        jobs: Concurrent training runs, each in its own process; small models share a GPU well.
        progress: Show progress bars, if ``jobs`` is 1.
    """
    planned = list(planned)
    measured = partial(_measured, data=data, data_hash=data_hash, to=to, progress=progress and jobs == 1)
    if jobs == 1:
        return _tabled(planned, map(measured, planned), report)
    threads = max(1, resources.cores() // jobs)
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        return _tabled(planned, pool.map(measured, planned), report)


def _measured(run: AblationRun, *, data: DataLayout, data_hash: str, to: AblationLayout, progress: bool) -> Measurement:
    key = run_key(run.config, data_hash=f"{data_hash} {run.variant.swapped}")
    make = partial(swapped, data, to.data(run.name), share=run.variant.swapped, seed=run.seed)
    folder = to.run(run.name, key=key)
    return train_and_evaluate(
        run.config,
        make_data=make,
        key=key,
        run=folder,
        decoded=to.decoded,
        split=pairs.evaluation_split(data),
        progress=progress,
    )


def _tabled(
    planned: list[AblationRun], measurements: Iterable[Measurement], report: Callable[[AblationRun, EvalReport], None]
) -> Ablation:
    rows: list[dict[str, object]] = []
    hits: list[pd.DataFrame] = []
    for run, (measured, queries) in zip(planned, measurements, strict=True):
        report(run, measured.evaluation)
        named: dict[str, Any] = {"variant": run.variant.name, "seed": run.seed}
        rows += [named | cell for cell in _cells(measured.evaluation)]
        shown = queries[(queries["direction"] == "image_to_text") & queries["index"].isin(get_args(IndexKind))]
        hits.append(shown[["index", "slice", "entity_id", "pair_id"]].assign(hit=100.0 * (shown["rank"] == 1), **named))
    return Ablation(pd.DataFrame(rows), pd.concat(hits, ignore_index=True))


def swapped(data: DataLayout, into: DataLayout, *, share: float, seed: int) -> DataLayout:
    """``data`` with explanations exchanged among a ``share`` of the entities; nothing else differs.

    The copy shares all files but the explanations with the original.
    """
    if not share:
        return data
    texts = pairs.read_frame(data.explanations)
    entities = texts["entity_id"].unique()
    chosen = np.random.default_rng(seed).permutation(entities)[: max(2, round(share * len(entities)))]
    to = dict(zip(chosen, np.roll(chosen, 1), strict=True))
    with_explanations(data, texts.assign(entity_id=[to.get(e, e) for e in texts["entity_id"]]), into=into)
    return into


# ---------------------------------------------------------------- the table
def _cells(measured: EvalReport) -> Iterator[dict[str, object]]:
    for index in get_args(IndexKind):
        for name in (*SLICES, "all"):
            recall = measured.value("R@1", index=index, slice=name)
            if recall is not None:
                yield {"index": index, "slice": name, "recall": recall}


def summary(cells: pd.DataFrame) -> pd.DataFrame:
    """``variant, index, slice, mean, half``: mean over the seeds and half of its 95 % interval (Student's t;
    nan for one seed).
    """
    by = cells.groupby(["variant", "index", "slice"], sort=False)["recall"]
    found = by.agg(["mean", "std", "count"]).reset_index()
    factor = [stats.t.ppf(0.975, n - 1) / math.sqrt(n) if n > 1 else math.nan for n in found["count"]]
    return found.assign(half=found["std"] * factor)[["variant", "index", "slice", "mean", "half"]]


def markdown(found: pd.DataFrame) -> str:
    """The summary as a table for a document: one line a variant and index, one column a slice."""
    present = [name for name in (*SLICES, "all") if (found["slice"] == name).any()]
    head = ["training", "index", *present]
    lines = [head, ["---"] * 2 + ["---:"] * len(present)]
    for (variant, index), part in found.groupby(["variant", "index"], sort=False):
        cells = part.set_index("slice")
        lines.append([str(variant), str(index), *(_figure(cells, name) for name in present)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _figure(cells: pd.DataFrame, name: str) -> str:
    if name not in cells.index:
        return ""
    mean, half = (float(cells.at[name, column]) for column in ("mean", "half"))  # type: ignore[arg-type]
    return f"{mean:.1f}" if math.isnan(half) else f"{mean:.1f} ± {half:.1f}"


def plot(found: pd.DataFrame) -> str:
    """SVG: one panel a slice, one line a variant, a dot with its interval for each index."""
    variants = list(dict.fromkeys(found["variant"]))
    present = [name for name in (*SLICES, "all") if (found["slice"] == name).any()]
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ablation", "font.size": 9}):
        figure = Figure(figsize=(2.3 * len(present) + 1.6, 0.42 * len(variants) + 1.2), layout="constrained")
        panels = figure.subplots(1, len(present), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, present, strict=True):
            for offset, index in zip((-0.27, -0.09, 0.09, 0.27), get_args(IndexKind), strict=True):
                part = found[(found["slice"] == name) & (found["index"] == index)]
                rows = [variants.index(variant) + offset for variant in part["variant"]]
                axes.errorbar(part["mean"], rows, xerr=part["half"].fillna(0), fmt="o", markersize=4, label=index)
            axes.set(title=SLICE_TITLES[name], xlabel="R@1, %", yticks=range(len(variants)), yticklabels=variants)
            axes.grid(axis="x", linewidth=0.4)
        panels[0].invert_yaxis()
        panels[0].legend(loc="lower left", frameon=False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return buffer.getvalue()
