"""One calibrated probability that a text is sound: a logistic regression on its scores, small enough to be read.

It learns from planted faults (``planted``) and from rows that a person judged, is calibrated on entities that it did
not learn from (Platt, 1999), and lives in a JSON file with its coefficients, its precision/recall curve, and what it
was learned from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from entityclip.errors import ConfigError, DataError
from entityclip.quality.image_text_scores import PICTURE_SCORES
from entityclip.quality.quality_score import ENOUGH_WORDS, FAULTS
from entityclip.schemas import Record

LIKELY = 0.95
"""A text that is this likely to be sound is never set aside. Where faulty and sound texts lie far apart, the promised
share of sound ones would hold nothing but texts that nothing speaks against."""
FOLDS, _CURVE_POINTS, _FARTHEST, _SEED = 5, 101, 4.0, 0
_FEWEST_ENTITIES = 2 * FOLDS


def features(scored: pd.DataFrame) -> pd.DataFrame:
    """The scores as numbers, a column each; nan where a score is missing, and throughout where the table has none."""
    found = {name: scored[name].fillna("").ne("").astype(float) for name in FAULTS if name in scored}
    columns = {
        "any_fault": pd.DataFrame(found, index=scored.index).max(axis=1).fillna(0.0),
        "open_end": scored["open_end"].fillna("").ne("").astype(float),
        "shortness": 1 - (scored["words"] / ENOUGH_WORDS).clip(upper=1),
        "repetition": scored["repetition"],
        "copies": np.log2(scored["nearly_shared_by"].clip(upper=16)),
        "like_own": _numbers(scored, "like_own"),
        "like_margin": _numbers(scored, "like_own") - _numbers(scored, "like_sibling"),
        **{name: _numbers(scored, name) for name in PICTURE_SCORES},
    }
    return pd.DataFrame(columns, index=scored.index).astype(float)


def _numbers(scored: pd.DataFrame, name: str) -> pd.Series:
    return scored[name].astype(float) if name in scored else pd.Series(np.nan, index=scored.index)


class Term(Record):
    """One feature's part: ``coefficient`` times (value - mean) / spread, the quotient held within ±4.

    A missing value says nothing: its part is 0.
    """

    feature: str
    mean: float
    spread: float
    coefficient: float = Field(description="Log odds of being sound, per spread.")


class CurvePoint(Record):
    """What a threshold would have done, among entities that were not learned from."""

    threshold: float = Field(description="Texts with a lower probability of being sound are set aside.")
    caught: float = Field(description="Share of the faulty texts that are set aside: recall.")
    precision: float = Field(description="Share of those set aside that are faulty.")
    false_alarms: float = Field(description="Share of the sound texts that are set aside.")


class SoundnessModel(Record):
    """What ``learn`` found; ``write`` and ``read`` keep it as JSON."""

    terms: tuple[Term, ...]
    intercept: float
    slope: float = Field(description="Platt's: log odds = slope * (sum of the terms) + intercept.")
    threshold: float = Field(ge=0, le=1, description="Texts below are set aside; it keeps the promise.")
    false_alarms: float = Field(description="The promise: at most this share of sound texts is set aside.")
    curve: tuple[CurvePoint, ...]
    learned_from: dict[str, str | int | float] = Field(description="Rows by kind, seed, hash of data and judge.")

    def probability(self, scored: pd.DataFrame) -> pd.Series:
        """Scored texts -> probability that each is sound, 0 to 1."""
        return 1 / (1 + np.exp(-(self.slope * _summed(features(scored), self.terms) + self.intercept)))

    def reasons(self, scored: pd.DataFrame) -> pd.DataFrame:
        """Scored texts -> each feature's part of the log odds: what speaks for a text, and what against it."""
        values = features(scored)
        return pd.DataFrame({t.feature: self.slope * _part(values, t) for t in self.terms}, index=scored.index)


def read_soundness(path: Path) -> SoundnessModel:
    """The model at ``path``.

    Raises:
        DataError: There is none, or it is not one of this version.
    """
    model = SoundnessModel.read(path)
    if model is None:
        raise DataError(
            f"{path}: no soundness model of this version; `entityclip run` writes one to "
            "reports/soundness.json of a workspace that has a champion"
        )
    return model


# ---------------------------------------------------------------- learning
def learn(
    scored: pd.DataFrame,
    sound: pd.Series,
    *,
    learned_from: Mapping[str, str | int | float],
    faulty_share: float = 0.1,
    false_alarms: float = 0.05,
) -> SoundnessModel:
    """Learn what tells sound texts from faulty ones.

    Args:
        scored: Scored texts with entity_id: planted and reviewed ones.
        sound: Of the same index: whether each is sound.
        learned_from: Kept with the model.
        faulty_share: Share of faulty texts to be expected where the model will be used; probabilities are of that.
        false_alarms: The share of sound texts that the threshold may set aside, at most.

    Raises:
        ConfigError: Too few entities or too few texts of either kind, or a share outside 0 to 1.
    """
    _require(scored, sound, shares={"faulty_share": faulty_share, "false_alarms": false_alarms})
    values, truth = features(scored), sound.to_numpy(bool)
    prior = np.where(truth, (1 - faulty_share) / truth.mean(), faulty_share / (1 - truth.mean()))
    apart = _out_of_fold(values, truth, prior, groups=scored["entity_id"])
    slope, intercept = _platt(apart, truth, prior)
    terms = _fit(values, truth, prior)
    probability = 1 / (1 + np.exp(-(slope * apart + intercept)))
    threshold = min(LIKELY, float(np.quantile(probability[truth], false_alarms)))
    return SoundnessModel(
        terms=terms,
        intercept=intercept,
        slope=slope,
        threshold=threshold,
        false_alarms=false_alarms,
        curve=_curve(probability, truth, prior),
        learned_from=dict(learned_from)
        | {"texts": len(truth), "sound": int(truth.sum()), "faulty": int((~truth).sum())},
    )


def _require(scored: pd.DataFrame, sound: pd.Series, *, shares: dict[str, float]) -> None:
    for name, share in shares.items():
        if not 0 < share < 1:
            raise ConfigError(f"{name} is {share}; expected a share between 0 and 1")
    for kind, rows in (("sound", sound), ("faulty", ~sound)):
        if (entities := scored.loc[rows, "entity_id"].nunique()) < _FEWEST_ENTITIES:
            raise ConfigError(
                f"{kind} texts of {entities} entities; expected {_FEWEST_ENTITIES} at least: plant more faults, or "
                "bring more data"
            )


def _fit(values: pd.DataFrame, truth: np.ndarray, weight: np.ndarray) -> tuple[Term, ...]:
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    mean, spread = values.mean().fillna(0.0), values.std(ddof=0).replace(0, np.nan).fillna(1.0)
    plain = [Term(feature=f, mean=mean[f], spread=spread[f], coefficient=1.0) for f in map(str, values)]
    columns = np.stack([_part(values, term) for term in plain], axis=1)
    fitted = LogisticRegression(max_iter=1000).fit(columns, truth, sample_weight=weight)
    return tuple(
        term.model_copy(update={"coefficient": float(value)})
        for term, value in zip(plain, fitted.coef_[0], strict=True)
    )


def _out_of_fold(values: pd.DataFrame, truth: np.ndarray, weight: np.ndarray, *, groups: pd.Series) -> np.ndarray:
    """(N,) sums of terms, each by a fit that saw no text of the same entity."""
    from sklearn.model_selection import StratifiedGroupKFold  # type: ignore[import-untyped]

    sums = np.zeros(len(truth))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=_SEED)
    for rest, fold in folds.split(values, truth, groups):
        terms = _fit(values.iloc[rest], truth[rest], weight[rest])
        sums[fold] = _summed(values.iloc[fold], terms)
    return sums


def _platt(sums: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(max_iter=1000).fit(sums[:, None], truth, sample_weight=weight)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def _part(values: pd.DataFrame, term: Term) -> pd.Series:
    apart = ((values[term.feature] - term.mean) / term.spread).clip(-_FARTHEST, _FARTHEST)
    return term.coefficient * apart.fillna(0.0)


def _summed(values: pd.DataFrame, terms: tuple[Term, ...]) -> pd.Series:
    return sum((_part(values, term) for term in terms), start=pd.Series(0.0, index=values.index))


def _curve(probability: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> tuple[CurvePoint, ...]:
    """Points at evenly spread quantiles; precision is that of the share of faults to be expected."""
    points = []
    for threshold in np.unique(np.quantile(probability, np.linspace(0, 1, _CURVE_POINTS))):
        aside = probability < threshold
        faulty = weight[aside & ~truth].sum()
        points.append(
            CurvePoint(
                threshold=float(threshold),
                caught=float(aside[~truth].mean()),
                precision=float(faulty / weight[aside].sum()) if aside.any() else 1.0,
                false_alarms=float(aside[truth].mean()),
            )
        )
    return tuple(points)
