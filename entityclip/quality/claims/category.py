"""What the texts of other entities of the category say: a part that hardly any other kettle has may be invented."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from entityclip.quality.claims.exchange import StatedClaim
from entityclip.quality.language import primary_language

FEWEST_OTHERS = 10
"""Other entities of the category with texts; of fewer, a claim that none of them makes says nothing."""
RARE = 0.05
"""Largest share of the others that may make an unusual claim too: what is invented once is invented again."""


class StatedElsewhere(NamedTuple):
    """Of C claims, in order."""

    by: np.ndarray
    """(C,) other entities of the category whose texts make the same claim."""
    of: np.ndarray
    """(C,) other entities of the category with texts in the language."""

    @property
    def unusual(self) -> np.ndarray:
        """(C,) bool: claims that hardly any other entity of the category makes, where there are enough."""
        return (self.by <= RARE * self.of) & (self.of >= FEWEST_OTHERS)


def stated_elsewhere(
    claims: Sequence[StatedClaim], explanations: pd.DataFrame, category: Mapping[str, str]
) -> StatedElsewhere:
    """Count who else makes each claim.

    Args:
        claims: Of these texts.
        explanations: N rows with entity_id and language.
        category: entity_id -> category; entities without one are compared with each other.
    """
    owners = explanations["entity_id"].tolist()
    spoken = map(primary_language, explanations["language"].fillna(""))
    others: dict[tuple[str, str], set[str]] = defaultdict(set)
    for owner, language in zip(owners, spoken, strict=True):
        others[category.get(owner, ""), language].add(owner)
    makers: dict[tuple[str, str, str, str], set[str]] = defaultdict(set)
    keys = []
    for stated in claims:
        owner = owners[stated.position]
        keys.append((category.get(owner, ""), *stated.key, stated.claim.value))
        makers[keys[-1]].add(owner)
    by = np.array([len(makers[key]) - 1 for key in keys], dtype=np.int64)
    return StatedElsewhere(by, np.array([len(others[key[:2]]) - 1 for key in keys], dtype=np.int64))
