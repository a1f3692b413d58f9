"""By how much the nightly figure of a release is too high."""

import pytest
from promotion_reports import report

from entityclip.evaluation.sealed import sealed_look
from entityclip.schemas import PromotionDecision, PromotionPolicy, SetLooks


def test_the_difference_has_an_interval_of_both_splits_and_the_looks_are_counted() -> None:
    decision = PromotionDecision(
        promoted=True,
        reasons=("better",),
        challenger="new",
        champion="v1.0.0",
        data_hash="data",
        suite_hash="suite",
        evaluation_hash="set",
        policy=PromotionPolicy(),
        looks=SetLooks(deciding=7, sealed=1),
    )
    nightly, sealed = (report("new", {"all": value}) for value in (64.0, 61.0))
    nightly, sealed = (
        one.model_copy(
            update={
                "metrics": tuple(
                    m.model_copy(update={"low": m.value - wide, "high": m.value + wide}) for m in one.metrics
                )
            }
        )
        for one, wide in ((nightly, 3.0), (sealed, 4.0))
    )
    look = sealed_look(nightly, sealed, decision, look=2)
    assert (look.test, look.sealed, look.optimism) == (64.0, 61.0, 3.0)
    assert (look.optimism_low, look.optimism_high) == (pytest.approx(-2.0), pytest.approx(8.0))
    assert (look.look, look.looks_at_test) == (2, 7)
    assert look.summary == (
        "R@1 of the mixed index is 61.0 [57.0, 65.0] on 100 sealed pictures; the test split shows 64.0, which is +3.0 "
        "points [-2.0, +8.0]; look 2 at the sealed split, after 7 at the test split"
    )
