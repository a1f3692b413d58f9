"""Gains, losses and their intervals on the same queries, and what the decision makes of them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from promotion_reports import report

from entityclip.evaluation.paired import paired_gain, slice_changes
from entityclip.evaluation.promotion import Champion, decide
from entityclip.schemas import PromotionDecision, PromotionPolicy


def answers(ranks: np.ndarray, **columns: Any) -> pd.DataFrame:
    """The evaluator's rows: each picture of its own entity, in the mixed index."""
    pairs = [f"p{i}" for i in range(len(ranks))]
    about = {"index": "mixed", "direction": "image_to_text", "slice": "frequent", "category": "cup", "language": ""}
    return pd.DataFrame({"pair_id": pairs, "entity_id": pairs, "rank": ranks, **about, **columns})


def decided_with_answers(
    new: np.ndarray, *old: np.ndarray, by: str = "category=cup", **policy: Any
) -> PromotionDecision:
    """Ranks of the same queries by the challenger and by the champions, the current one first. ``by`` is a slice of all
    queries; over all, by the figures, the challenger always wins.
    """
    figures = [{"all": 50.0 + (i == 0), by: 100 * float((r == 1).mean())} for i, r in enumerate((new, *old))]
    return decide(
        report("new", figures[0], queries=len(new)),
        [
            Champion(f"v1.{9 - i}.0", report("old", figure, queries=len(r)), answers(r))
            for i, (figure, r) in enumerate(zip(figures[1:], old, strict=True))
        ],
        policy=PromotionPolicy(**{"require_significant": False} | policy),
        data_hash="",
        suite_hash="",
        queries=answers(new),
    )


def lost(old: np.ndarray, count: int, won: int = 0) -> np.ndarray:
    """The same ranks with ``count`` hits lost and ``won`` others won."""
    new = old.copy()
    new[:count] = 2
    new[len(new) - won :] = 1
    return new


OF_HUNDRED = np.repeat([1, 2], [80, 20])


def test_a_small_category_refuses_only_when_its_interval_lies_beyond_the_tolerance():
    noted = decided_with_answers(lost(OF_HUNDRED, 16, won=10), OF_HUNDRED)
    assert noted.promoted
    assert "category=cup changes from 80.0 of v1.9.0 to 74.0 over 100 queries" in noted.reasons[1]
    assert noted.reasons[1].endswith("noted only")
    refused = decided_with_answers(lost(OF_HUNDRED, 40), OF_HUNDRED)
    assert not refused.promoted
    assert refused.reasons[1].endswith("too much")
    assert decided_with_answers(lost(OF_HUNDRED, 40), OF_HUNDRED, min_slice_queries=101).promoted


def test_a_small_slice_by_training_pictures_refuses_by_its_loss():
    refused = decided_with_answers(lost(OF_HUNDRED, 16, won=10), OF_HUNDRED, by="frequent")
    assert not refused.promoted
    assert "the interval of all slices together is -" in refused.reasons[1]
    assert decided_with_answers(lost(OF_HUNDRED, 14, won=10), OF_HUNDRED, by="frequent").promoted


def test_a_large_slice_has_to_show_that_it_lost_no_more_than_allowed():
    old = np.repeat([1, 2], [3200, 800])
    for by in ("frequent", "category=cup"):
        assert decided_with_answers(lost(old, 100), old, by=by).promoted  # 2.5 points, and surely less than 5
        unsure = decided_with_answers(lost(old, 190), old, by=by)  # 4.75 points, and perhaps more than 5
        assert not unsure.promoted
        assert "narrow enough to lie within, and it does not: too much" in unsure.reasons[1]


def test_a_loss_that_is_allowed_once_is_not_allowed_again_each_night():
    first, then = OF_HUNDRED, lost(OF_HUNDRED, 4)
    tonight = lost(OF_HUNDRED, 8)
    assert decided_with_answers(tonight, then, by="frequent").promoted
    refused = decided_with_answers(tonight, then, first, by="frequent")
    assert not refused.promoted
    assert "slice frequent changes from 80.0 of v1.8.0 to 72.0" in refused.reasons[1]
    assert refused.champion == "v1.9.0"


def test_without_a_loss_the_reason_names_every_champion_that_slices_were_compared_with():
    decision = decided_with_answers(OF_HUNDRED, OF_HUNDRED, OF_HUNDRED)
    assert decision.reasons[1] == "no slice loses more than 5.0 points against v1.9.0, v1.8.0"


def test_intervals_of_many_slices_are_wider_than_that_of_one():
    """They hold together: of many slices, one would look bad by chance."""
    rng = np.random.default_rng(0)
    old, new = (np.where(rng.random(2000) < 0.5, 1, 2) for _ in range(2))
    policy, many = PromotionPolicy(), [f"{i % 20}" for i in range(2000)]

    def of_frequent(category: str | list[str]) -> float:
        rows = [answers(r, category=category) for r in (new, old)]
        found = {c.name: c for c in slice_changes(*rows, policy=policy)}
        return found["frequent"].high - found["frequent"].low

    assert of_frequent(many) > 1.3 * of_frequent("")


def test_gain_on_the_same_queries_has_a_narrower_interval_than_two_recalls():
    rng = np.random.default_rng(0)
    old = np.where(rng.random(400) < 0.5, 1, 2)
    new = np.where(rng.random(400) < 0.05, 1, old)  # a few more hits, the rest the same
    shuffled = answers(new).sample(frac=1, random_state=0)
    paired = paired_gain(shuffled, answers(old), policy=PromotionPolicy(seed_deviation=0))
    assert paired is not None
    low, high = paired.low, paired.high
    gain = 100 * ((new == 1).mean() - (old == 1).mean())
    assert paired.points == pytest.approx(gain)
    assert paired.queries == 400
    assert 0 < low < gain < high < low + 5  # apart, each recall alone is uncertain by about 10 points


def test_the_interval_of_a_gain_holds_the_deviation_of_both_trainings():
    old = np.repeat([1, 2], [50, 50])
    new = lost(old, 0, won=10)
    known, seeds = (paired_gain(answers(new), answers(old), policy=PromotionPolicy(seed_deviation=d)) for d in (0, 2))
    assert known is not None
    assert seeds is not None
    trained = 1.96 * 2**0.5 * 2
    assert seeds.points - seeds.low == pytest.approx(np.hypot(known.points - known.low, trained), rel=1e-3)
    assert seeds.high - seeds.points == pytest.approx(np.hypot(known.high - known.points, trained), rel=1e-3)


@pytest.mark.parametrize(
    ("won", "missed", "deviation", "promoted"),
    [(10, 0, 0, True), (12, 10, 0, False), (10, 0, 5, False), (40, 0, 5, True), (0, 0, 0, False)],
)
def test_by_default_noise_is_not_promoted(won, missed, deviation, promoted):
    old = np.repeat([1, 2], [50, 50])
    new = lost(old, missed, won=won)
    assert decided_with_answers(new, old, by="few").promoted is (missed <= 5 + won)
    surely = decided_with_answers(new, old, by="few", require_significant=True, seed_deviation=deviation)
    assert surely.promoted is promoted
    assert "the whole interval must lie above +0.0" in surely.reasons[0]
    assert surely.gain is not None
    assert f"(95 % interval {surely.gain.low:+.1f} to {surely.gain.high:+.1f})" in surely.reasons[0]
    assert PromotionDecision.model_validate_json(surely.model_dump_json()) == surely


def test_every_look_at_the_same_champion_widens_the_interval():
    """Of thirty challengers that are no better, one looks better by chance."""
    old = np.repeat([1, 2], [50, 50])
    new = lost(old, 0, won=5)
    policy = PromotionPolicy(seed_deviation=0)
    first, last = (paired_gain(answers(new), answers(old), policy=policy, looks=looks) for looks in (1, 30))
    assert first is not None
    assert last is not None
    assert first.low > 0 > last.low
    assert last.points - last.low == pytest.approx((first.points - first.low) * 3.144 / 1.96, rel=1e-3)
    decisions = [
        decide(
            report("new", {"all": 55.0}),
            [Champion("v1.0.0", report("old", {"all": 50.0}), answers(old))],
            policy=policy,
            data_hash="",
            suite_hash="",
            queries=answers(new),
            looks=looks,
        )
        for looks in (1, 30)
    ]
    assert [made.promoted for made in decisions] == [True, False]
    assert "(99.83 %, look 30 at this champion, interval -" in decisions[1].reasons[0]
