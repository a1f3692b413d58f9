"""Scores of pairs and explanations: pure functions from columns to columns. Which score is too bad stands in the
suites under ``expectations/``, not here.

A score is either a number, or a *fault column*: empty where all is well, else the very words that are wrong, so
that the quarantine shows them.
"""

from entityclip.quality.pair_scores import score_pairs
from entityclip.quality.scorer import score_explanations, score_shards

__all__ = ["score_explanations", "score_pairs", "score_shards"]
