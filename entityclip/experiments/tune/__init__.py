"""Hyperparameter search: expert counts, loss weights, and the minimum quality of explanations."""

from entityclip.experiments.tune.space import Proposal
from entityclip.experiments.tune.study import SearchLimits, TrialRow, TuningResult, tune

__all__ = ["Proposal", "SearchLimits", "TrialRow", "TuningResult", "tune"]
