"""Optimism of a release's nightly figure: by how much it is higher on the test split than on the sealed split."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from entityclip.evaluation.promotion import deciding
from entityclip.schemas import EvalReport, PromotionDecision, SealedLook


def sealed_look(test: EvalReport, sealed: EvalReport, decision: PromotionDecision, *, look: int) -> SealedLook:
    """The deciding metric of one model on both splits, and their difference.

    The interval of the difference takes both splits as independent samples of the same pictures. They show the same
    entities, so that it is rather too wide.

    Args:
        test: The report that decided.
        sealed: The report about the sealed split.
        decision: The promoting decision.
        look: Models that were measured on the sealed split so far, this one included.
    """
    policy = decision.policy
    nightly, found = (deciding(report, policy)["all"] for report in (test, sealed))
    optimism = nightly.value - found.value
    return SealedLook(
        model_fingerprint=sealed.model_fingerprint,
        data_hash=decision.data_hash,
        at=datetime.now(UTC),
        index=policy.index,
        metric=policy.metric,
        look=look,
        looks_at_test=decision.looks.deciding if decision.looks else 1,
        test=nightly.value,
        sealed=found.value,
        low=found.low,
        high=found.high,
        pictures=found.queries,
        optimism=optimism,
        optimism_low=optimism - math.hypot(nightly.value - nightly.low, found.high - found.value),
        optimism_high=optimism + math.hypot(nightly.high - nightly.value, found.value - found.low),
    )
