"""The effect of each part of the method: paired differences between variants of an ablation, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from entityclip.evaluation.paired import Z
from entityclip.experiments.ablate import VARIANTS
from entityclip.experiments.seeds import clustered_variance
from entityclip.schemas import SLICES

COLUMNS = ["variant", "against", "index", "slice", "points", "low", "high", "d", "seeds"]


def effects(hits: pd.DataFrame) -> pd.DataFrame:
    """Differences in R@1 between variants that were trained with the same seeds and queried with the same pictures.

    The 95 % interval covers both: the seeds, by Student's t over the differences of each seed, and the sampling of the
    pictures, clustered by entity. ``d`` is the effect size over the seeds: the mean difference by their standard
    deviation (Cohen's d of paired samples). Intervals and ``d`` are nan for one seed. Each interval is for itself: of
    twenty comparisons without any effect, one looks like one.

    Args:
        hits: As ``Ablation.hits``.

    Returns:
        ``variant, against, index, slice, points, low, high, d, seeds``, for the comparisons whose variants are there.
    """
    keys = ["index", "slice", "entity_id", "pair_id"]
    wide = hits.pivot_table(index=keys, columns=["variant", "seed"], values="hit", sort=False)
    there = set(wide.columns.get_level_values("variant"))
    rows = []
    for variant in VARIANTS:
        for against in variant.against if variant.name in there else ():
            if against in there:
                change = pd.DataFrame(wide[variant.name] - wide[against]).dropna(axis="columns")
                named = {"variant": variant.name, "against": against}
                rows += [named | found for found in _by_slice(change)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _by_slice(change: pd.DataFrame) -> Iterator[dict[str, object]]:
    """The effect in each index and slice, from (queries, seeds) differences."""
    for index, of_index in change.groupby(level="index", sort=False):
        present = of_index.index.get_level_values("slice")
        for name in (*SLICES, "all"):
            part = of_index if name == "all" else of_index[present == name]
            if len(part):
                yield {"index": index, "slice": name, **_effect(part)}


def _effect(change: pd.DataFrame) -> dict[str, float]:
    of_seeds, seeds = change.mean(axis="index").to_numpy(), change.shape[1]
    points, deviation = float(of_seeds.mean()), float(np.std(of_seeds, ddof=1)) if seeds > 1 else math.nan
    rows = pd.DataFrame({"won": change.mean(axis="columns").to_numpy(), "entity_id": _entities(change)})
    trained = stats.t.ppf(0.975, seeds - 1) * deviation / math.sqrt(seeds) if seeds > 1 else math.nan
    half = math.hypot(trained, Z * math.sqrt(clustered_variance(rows)))
    d = points / deviation if deviation else math.nan
    return {"points": points, "low": points - half, "high": points + half, "d": d, "seeds": seeds}


def _entities(change: pd.DataFrame) -> np.ndarray:
    return change.index.get_level_values("entity_id").to_numpy()


def effects_table(found: pd.DataFrame) -> str:
    """The effects as a table for a document: one line a comparison and index, one column a slice."""
    present = [name for name in (*SLICES, "all") if (found["slice"] == name).any()]
    head = ["what is added", "to", "index", *present, "d over all"]
    lines = [head, ["---"] * 3 + ["---:"] * (len(present) + 1)]
    for (variant, against, index), part in found.groupby(["variant", "against", "index"], sort=False):
        figures = part.set_index("slice")[["points", "low", "high", "d"]].astype(float).T.to_dict("list")
        shown = [_shown(*figures[name][:3]) if name in figures else "" for name in present]
        size = figures["all"][3]
        lines.append([str(variant), str(against), str(index), *shown, "" if math.isnan(size) else f"{size:.1f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _shown(points: float, low: float, high: float) -> str:
    return f"{points:+.1f}" if math.isnan(low) else f"{points:+.1f} [{low:+.1f}, {high:+.1f}]"
