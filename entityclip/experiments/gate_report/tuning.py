"""Tune the limit of a rule by the recall on validation pictures after training with it."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd

from entityclip.errors import ConfigError
from entityclip.experiments.gate_report.study import GateStudy, GateVariant, TrainedVariant, retrain
from entityclip.experiments.gate_report.worth import recall_table

_FORM = re.compile(r"\s*(?P<rule>\w+)\s*:\s*(?P<column>\w+)\s*(?P<sign>>=|<=)\s*(?P<limits>[-\d.,\s]+)")
_HOLDS = {">=": (operator.ge, "min_value"), "<=": (operator.le, "max_value")}


class Limit(NamedTuple):
    """A rule on a number, with the limits to try: ``too_short: words >= 2, 4, 8``."""

    rule: str
    column: str
    sign: str
    limits: tuple[float, ...]

    @property
    def keyword(self) -> str:
        """Name of the limit in the suite's JSON."""
        return _HOLDS[self.sign][1]

    def holds(self, scores: pd.Series, limit: float) -> pd.Series:
        """Which scores pass the rule; missing scores pass, as at the gate."""
        return scores.isna() | _HOLDS[self.sign][0](scores, limit)


def parse_limit(text: str) -> Limit:
    """``RULE: COLUMN >= LIMIT, LIMIT ...`` or with ``<=``.

    Raises:
        ConfigError: The text does not have this form, or has fewer than two limits.
    """
    found = _FORM.fullmatch(text)
    try:
        limits = tuple(float(part) for part in found["limits"].split(",")) if found else ()
    except ValueError:
        limits = ()
    if not found or len(set(limits)) < 2:
        raise ConfigError(f"{text!r}: expected a rule and limits to try, as in 'too_short: words >= 2, 4, 8'")
    return Limit(found["rule"], found["column"], found["sign"], limits)


def tune(
    study: GateStudy,
    limit: Limit,
    *,
    scored: pd.DataFrame,
    broken: pd.DataFrame,
    report: Callable[[TrainedVariant], None] = lambda _: None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train with each limit while all other rules apply: ``limit, texts, slice, value, low, high``, on validation
    pictures, never on test pictures.

    Args:
        study: As for the report.
        limit: The rule, and the limits to try.
        scored: Every text before the gate, with its scores.
        broken: Result of ``quarantine.broken_texts``.
        report: Called after each training run.
        progress: Show bars.

    Raises:
        ConfigError: The texts have no such score, or it is not numeric.
    """
    if limit.column not in scored or not pd.api.types.is_numeric_dtype(scored[limit.column]):
        known = scored.select_dtypes("number").columns
        raise ConfigError(f"{limit.column}: not a numeric score of texts; expected one of {', '.join(known)}")
    others = broken[broken["rule"] != limit.rule]
    rest = scored[~scored["explanation_id"].isin(others["id"])]
    tried = [
        GateVariant(f"{value:g}", limit.rule, rest[limit.holds(rest[limit.column], value)]) for value in limit.limits
    ]
    empty = [variant.name for variant in tried if variant.texts.empty]
    if empty:
        raise ConfigError(f"{limit.column} {limit.sign} {empty[0]}: no text passes; try a milder limit")
    found = recall_table(list(retrain(study, tried, split="val", report=report, progress=progress)))
    return found.rename(columns={"variant": "limit"}).astype({"limit": float})


def best_limit(tuned: pd.DataFrame, *, limit: Limit) -> float:
    """The limit with the highest mean over the slices, with equal weights; on ties the mildest."""
    slices = tuned[tuned["slice"] != "all"] if (tuned["slice"] != "all").any() else tuned
    means = slices.groupby("limit")["value"].mean()
    best: Sequence[float] = [float(value) for value in means.index[means >= means.max() - 1e-9]]
    return min(best) if limit.sign == ">=" else max(best)
