"""The order in which quarantined texts are worth a reviewer's time: the expected gain of recall first.

A text counts the more, the more likely it is to return, the fewer photographs and other texts its entity has, and the
more often people look for the entity. Nothing of it needs a model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from entityclip.data import pairs
from entityclip.paths import DataLayout
from entityclip.quality.review.decisions import Review
from entityclip.quality.review.pending import PendingText


def by_expected_gain(
    waiting: Sequence[PendingText],
    data: DataLayout,
    *,
    decided: Iterable[Review] = (),
    requests: Mapping[str, int] | None = None,
) -> list[PendingText]:
    """The texts, the most valuable first.

    Args:
        waiting: Quarantined texts.
        data: The staging that they are in.
        decided: Earlier decisions: how often texts that broke a rule were kept.
        requests: entity_id -> how often people judged a result about it; by default none is known.
    """
    kept = _kept_shares(decided)
    photographs = Counter(pairs.read_frame(data.pairs, name="train", columns=["entity_id"])["entity_id"])
    written = pairs.read_frame(data.explanations, columns=["explanation_id", "entity_id"])
    left = ~written["explanation_id"].isin([text.explanation_id for text in waiting])
    texts = Counter(written.loc[left, "entity_id"])
    known = requests or {}
    gains: dict[str, float] = {}
    for text in sorted(waiting, key=lambda text: (-_kept(text, kept), text.explanation_id)):
        rare = 1 / ((1 + photographs[text.entity_id]) * (1 + texts[text.entity_id]))
        wanted = 1 + math.log1p(known.get(text.entity_id, 0))
        gains[text.explanation_id] = _kept(text, kept) * rare * wanted
        texts[text.entity_id] += 1  # the next text of the entity finds this one there
    return sorted(waiting, key=lambda text: -gains[text.explanation_id])


def _kept(text: PendingText, shares: Mapping[str, float]) -> float:
    """Probability that a reviewer accepts or corrects the text."""
    return min((shares.get(rule, 0.5) for rule in text.rules.split()), default=0.5)


def _kept_shares(decided: Iterable[Review]) -> dict[str, float]:
    """Rule -> share of the texts that broke it and were kept, as if one more was kept and one more rejected."""
    all_, kept = Counter[str](), Counter[str]()
    for review in decided:
        for rule in review.rules.split():
            all_[rule] += 1
            kept[rule] += review.decision != "reject"
    return {rule: (kept[rule] + 1) / (count + 2) for rule, count in all_.items()}
