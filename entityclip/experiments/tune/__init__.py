"""The search for better settings: expert counts, the loss's weights, and how good an explanation has to be."""

from entityclip.experiments.tune.space import Proposal
from entityclip.experiments.tune.study import TrialRow, TuningResult, tune

__all__ = ["Proposal", "TrialRow", "TuningResult", "tune"]
