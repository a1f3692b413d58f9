"""Scores of pairs and explanations: pure functions from columns to columns. The limits of the scores are in the suites
under ``expectations/``.

A score is a number or a *fault column*: empty for a text without the fault, else the words at fault, which the
quarantine file shows.
"""

from entityclip.quality.pair_scores import score_pairs
from entityclip.quality.scorer import score_explanations, score_shards

__all__ = ["score_explanations", "score_pairs", "score_shards"]
