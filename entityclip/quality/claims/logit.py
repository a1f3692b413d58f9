"""From fit to log odds: how likely each value of a claim is by the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np

from entityclip.quality.claims.exchange import ExchangedClaim

_RIDGE = 0.01
"""Of the constants; it keeps those of rare values small."""


class Logit(NamedTuple):
    """A conditional logit (McFadden, 1974): the log odds of a value are its fit times the scale, and its constant."""

    scale: float
    constants: Mapping[str, float]

    @classmethod
    def fitted(cls, claims: Sequence[ExchangedClaim]) -> Self:
        """The scale and constants by which the values that sound texts state are the likeliest."""
        from scipy.optimize import minimize

        names = list(dict.fromkeys(value for claim in claims for value in claim.values))
        column = {name: i for i, name in enumerate(names)}
        fit, known = np.zeros((2, len(claims), len(names)))
        for row, claim in enumerate(claims):
            places = [column[value] for value in claim.values]
            fit[row, places], known[row, places] = claim.fit, 1
        own = np.array([column[claim.values[0]] for claim in claims])
        spread = float(fit[known > 0].std()) or 1.0
        rows = np.arange(len(claims))

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            logits = np.where(known > 0, weights[0] * fit / spread + weights[1:], -1e9)
            logits -= logits.max(axis=1, keepdims=True)
            chance = np.exp(logits)
            chance /= chance.sum(axis=1, keepdims=True)
            value = -np.log(chance[rows, own].clip(min=1e-12)).mean() + _RIDGE * (weights[1:] ** 2).mean()
            chance[rows, own] -= 1
            slope = (chance * fit / spread).sum() / len(rows)
            return float(value), np.r_[slope, chance.mean(axis=0) + 2 * _RIDGE * weights[1:] / len(names)]

        weights = minimize(loss, np.r_[1.0, np.zeros(len(names))], jac=True, method="L-BFGS-B").x
        return cls(float(weights[0] / spread), {name: float(weights[1 + i]) for name, i in column.items()})

    def evidence(self, claim: ExchangedClaim, value: int = 0) -> tuple[float, str]:
        """Log odds against the best alternative, and its name; or as if the text stated another ``value`` of it."""
        odds = self.scale * claim.fit + [self.constants.get(name, 0.0) for name in claim.values]
        others = [i for i in range(len(odds)) if i != value]
        best = max(others, key=lambda i: odds[i])
        return float(odds[value] - odds[best]), claim.values[best]
