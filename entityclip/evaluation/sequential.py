"""A sequential test of harm: it may be evaluated after every observation without more false alarms.

Each observation is a paired difference: 1 if the challenger was worse, -1 if it was better, 0 otherwise. The hypothesis
is that the expected difference, given all earlier observations, is at most a margin. The evidence against it is the
capital of a gambler who bets on harm, averaged over fixed bets: a test martingale, which exceeds 1 / alpha at any time
with a probability of at most alpha (Ville's inequality). Observations need not be independent or alike.

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", Journal of the Royal
Statistical Society B 86(1), 2024, section 4 and appendix B (a grid of constant bets). The bets are fixed, so the counts
of the three values are sufficient, and those of several processes can be added.
"""

from __future__ import annotations

import math

BETS = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 0.95)
"""Bets as fractions of the largest one that cannot lose all. Small ones find a small harm, large ones a break."""


def evidence(worse: int, same: int, better: int, *, margin: float) -> float:
    """Evidence that the expected difference is above ``margin``; at least 1 / alpha is significant at level alpha.

    Args:
        worse: Number of observations with the difference 1.
        same: With the difference 0.
        better: With the difference -1.
        margin: Largest expected difference that is no harm, at least 0 and below 1.

    Returns:
        The capital, 0 or more; it starts at 1. ``inf`` if it is too large for a float.
    """
    largest = 1 / (1 + margin)  # a loss of 1 + margin per unit of the bet is the worst that one observation can bring
    logs = [
        worse * math.log1p(bet * largest * (1 - margin))
        + same * math.log1p(-bet * largest * margin)
        + better * math.log1p(-bet)
        for bet in BETS
    ]
    try:
        return sum(map(math.exp, logs)) / len(BETS)
    except OverflowError:
        return math.inf
