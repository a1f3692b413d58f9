"""Recall by variant with bootstrap intervals, and the points of recall that each rule gains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from entityclip.evaluation.slices import SLICE_MINIMUM
from entityclip.experiments.gate_report.study import ON, TrainedVariant, alone_by_rule
from entityclip.retrieval import metrics
from entityclip.schemas import SLICES, IndexKind

SEED = 0


def recall_table(trained: Sequence[TrainedVariant], *, index: IndexKind = "explanation") -> pd.DataFrame:
    """``variant, texts, slice, value, low, high, queries``: R@1 in percent over all seeds, with 95 % intervals.

    The bootstrap resamples entities, each with all its queries in all seeds.
    """
    return pd.DataFrame(
        [
            {"variant": name, "texts": len(group[0].variant.texts), **row}
            for name, group in _by_variant(trained).items()
            for row in _figures(_hits(group, index))
        ]
    )


def worth_table(
    trained: Sequence[TrainedVariant], broken: pd.DataFrame, *, index: IndexKind = "explanation"
) -> pd.DataFrame:
    """``rule, rows, alone, slice, value, low, high``: points of R@1 that the gate loses without each rule.

    Paired bootstrap over the same queries. ``rows`` texts break the rule, ``alone`` of them break no other rule; a rule
    with ``alone`` 0 has value 0 and no training run of its own. The rule '' is the gate as a whole.
    """
    by, alone = _by_variant(trained), alone_by_rule(broken)
    counts = broken["rule"].value_counts()
    on = _hits(by[ON], index)
    rows: list[dict[str, object]] = []
    for name, group in by.items():
        if name == ON:
            continue
        rule = group[0].variant.rule
        count, single = (int(counts[rule]), len(alone[rule])) if rule else (broken["id"].nunique(),) * 2
        gain = on.assign(hit=on["hit"] - _hits(group, index)["hit"])
        rows += [{"rule": rule, "rows": count, "alone": single, **row} for row in _figures(gain)]
    nothing = {"slice": "all", "value": 0.0, "low": 0.0, "high": 0.0, "queries": 0}
    rows += [
        {"rule": rule, "rows": int(counts[rule]), "alone": 0, **nothing} for rule, some in alone.items() if not some
    ]
    return pd.DataFrame(rows)


def _by_variant(trained: Sequence[TrainedVariant]) -> dict[str, list[TrainedVariant]]:
    found: dict[str, list[TrainedVariant]] = {}
    for one in trained:
        found.setdefault(one.variant.name, []).append(one)
    return found


def _hits(group: Sequence[TrainedVariant], index: IndexKind) -> pd.DataFrame:
    """One row per seed and query, in the same order for every variant: entity_id, slice, hit (0 or 100)."""
    parts = []
    for one in group:
        found = one.result.queries
        found = found[(found["index"] == index) & (found["direction"] == "image_to_text")]
        found = found.sort_values(["pair_id", "entity_id"], kind="stable")
        parts.append(found[["pair_id", "entity_id", "slice"]].assign(hit=100.0 * (found["rank"] == 1), seed=one.seed))
    return pd.concat(parts, ignore_index=True)


def _figures(hits: pd.DataFrame) -> list[dict[str, object]]:
    """Mean and interval of ``hit`` for each slice that has enough queries, and for all."""
    found: list[dict[str, object]] = []
    for name in (*SLICES, "all"):
        part = hits if name == "all" else hits[hits["slice"] == name]
        if len(part) >= SLICE_MINIMUM:
            values, entities = part["hit"].to_numpy(np.float64), part["entity_id"].to_numpy()
            (figure,) = metrics.mean_figures({"hit": values}, entities, seed=SEED)
            found.append(
                {"slice": name, "value": figure.value, "low": figure.low, "high": figure.high, "queries": len(part)}
            )
    return found
