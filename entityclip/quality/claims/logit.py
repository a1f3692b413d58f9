"""From fit to log odds: how likely each value of a claim is by the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np

from entityclip.quality.claims.exchange import ExchangedClaim

_RIDGE = 0.01
"""Of the constants; it keeps those of rare values small."""


class Logit(NamedTuple):
    """A conditional logit (McFadden, 1974): the log odds of a value are its fits by their scales, and its constant."""

    scales: tuple[float, ...]
    constants: Mapping[str, float]

    @classmethod
    def fitted(cls, claims: Sequence[ExchangedClaim]) -> Self:
        """The scales and constants by which the values that sound texts state are the likeliest."""
        from scipy.optimize import minimize

        names = list(dict.fromkeys(value for claim in claims for value in claim.values))
        column = {name: i for i, name in enumerate(names)}
        kinds = claims[0].fit.shape[1]
        fit, known = np.zeros((kinds, len(claims), len(names))), np.zeros((len(claims), len(names)), dtype=bool)
        for row, claim in enumerate(claims):
            places = [column[value] for value in claim.values]
            fit[:, row, places], known[row, places] = claim.fit.T, True
        own = np.array([column[claim.values[0]] for claim in claims])
        spread = np.array([float(one[known].std()) or 1.0 for one in fit])
        fit /= spread[:, None, None]
        rows = np.arange(len(claims))

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            logits = np.where(known, np.tensordot(weights[:kinds], fit, 1) + weights[kinds:], -1e9)
            logits -= logits.max(axis=1, keepdims=True)
            chance = np.exp(logits)
            chance /= chance.sum(axis=1, keepdims=True)
            value = -np.log(chance[rows, own].clip(min=1e-12)).mean() + _RIDGE * (weights[kinds:] ** 2).mean()
            chance[rows, own] -= 1
            slopes = np.tensordot(fit, chance, 2) / len(rows)
            return float(value), np.r_[slopes, chance.mean(axis=0) + 2 * _RIDGE * weights[kinds:] / len(names)]

        start = np.r_[np.ones(kinds), np.zeros(len(names))]
        weights = minimize(loss, start, jac=True, method="L-BFGS-B").x
        scales = tuple(map(float, weights[:kinds] / spread))
        return cls(scales, {name: float(weights[kinds + i]) for name, i in column.items()})

    def evidence(self, claim: ExchangedClaim, value: int = 0, *, better: int = 0) -> tuple[float, str]:
        """Log odds against the best alternative, and its name; or as if the text stated another ``value`` of it.

        The ``better`` best alternatives, fewer than there are, are passed over.
        """
        odds = claim.fit @ np.array(self.scales) + [self.constants.get(name, 0.0) for name in claim.values]
        others = sorted((i for i in range(len(odds)) if i != value), key=lambda i: -odds[i])
        best = others[better]
        return float(odds[value] - odds[best]), claim.values[best]
