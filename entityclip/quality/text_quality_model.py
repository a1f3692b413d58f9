"""Text quality: the calibrated probability that a text has no fault, by a logistic regression on its scores.

The model is fitted on injected faults (column ``injected_fault``) and on reviewed rows, and calibrated on held-out
entities (Platt, 1999). A JSON file holds its coefficients, its precision/recall curve, and the origin of its training
rows.
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
"""Upper bound of the threshold. Where faulty and faultless texts are well separated, the quantile of the
faultless ones alone would quarantine texts that show no fault."""
FOLDS, _CURVE_POINTS, _FARTHEST, _SEED = 5, 101, 4.0, 0
_FEWEST_ENTITIES = 2 * FOLDS


def features(scored: pd.DataFrame) -> pd.DataFrame:
    """The scores as numeric columns; nan where a score, or its whole column, is missing."""
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
    """Contribution of one feature: ``coefficient`` times (value - mean) / spread, the quotient clipped to ±4.

    A missing value contributes 0.
    """

    feature: str
    mean: float
    spread: float
    coefficient: float = Field(description="Log odds of having no fault, per spread.")


class CurvePoint(Record):
    """Precision and recall of one threshold, on held-out entities."""

    threshold: float = Field(description="Texts with a lower probability are quarantined.")
    caught: float = Field(description="Recall: share of the faulty texts that are quarantined.")
    precision: float = Field(description="Precision: share of the quarantined texts that are faulty.")
    false_alarms: float = Field(description="Share of the faultless texts that are quarantined.")


class TextQualityModel(Record):
    """Result of ``fit_model``; stored as JSON."""

    terms: tuple[Term, ...]
    intercept: float
    slope: float = Field(description="Platt's: log odds = slope * (sum of the terms) + intercept.")
    threshold: float = Field(ge=0, le=1, description="Texts below it are quarantined.")
    false_alarms: float = Field(description="Largest share of faultless texts that is quarantined.")
    curve: tuple[CurvePoint, ...]
    learned_from: dict[str, str | int | float] = Field(
        description="Rows by kind, seed, hash of the data and of the champion."
    )

    def probability(self, scored: pd.DataFrame) -> pd.Series:
        """Scored texts -> probability that each has no fault, 0 to 1."""
        return 1 / (1 + np.exp(-(self.slope * _summed(features(scored), self.terms) + self.intercept)))

    def reasons(self, scored: pd.DataFrame) -> pd.DataFrame:
        """Scored texts -> contribution of each feature to the log odds."""
        values = features(scored)
        return pd.DataFrame({t.feature: self.slope * _part(values, t) for t in self.terms}, index=scored.index)


def read_text_quality_model(path: Path) -> TextQualityModel:
    """The model at ``path``.

    Raises:
        DataError: There is none, or it is not one of this version.
    """
    model = TextQualityModel.read(path)
    if model is None:
        raise DataError(
            f"{path}: no text-quality model of this version; `entityclip run` writes one to reports/text_quality.json "
            "of a workspace that has a champion"
        )
    return model


# ---------------------------------------------------------------- fitting
def fit_model(
    scored: pd.DataFrame,
    sound: pd.Series,
    *,
    learned_from: Mapping[str, str | int | float],
    faulty_share: float = 0.1,
    false_alarms: float = 0.05,
) -> TextQualityModel:
    """Fit the model that separates faultless from faulty texts.

    Args:
        scored: Scored texts with entity_id: texts with injected faults, and reviewed ones.
        sound: Whether each text has no fault; same index.
        learned_from: Stored with the model.
        faulty_share: Share of faulty texts expected in use; the probabilities are calibrated to it.
        false_alarms: Largest share of faultless texts that the threshold quarantines.

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
    return TextQualityModel(
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
                f"{kind} texts of {entities} entities; expected at least {_FEWEST_ENTITIES}: inject more faults, or "
                "provide more data"
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
    """(N,) sums of terms, each by a fit without texts of the same entity."""
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
    """Points at evenly spaced quantiles; precision is weighted to the expected share of faults."""
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
