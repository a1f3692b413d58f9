"""Every branch of the promotion decision, by table."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from entityclip.errors import ConfigError
from entityclip.evaluation.paired import paired_gain, slice_changes
from entityclip.evaluation.promotion import Champion, certify, decide, judge_flaw
from entityclip.schemas import EvalReport, Metric, PromotionDecision, PromotionPolicy, Release
from entityclip.training.presets import PRESETS, preset


def report(fingerprint: str, values: dict[str, float], *, queries: int = 100, **fields: Any) -> EvalReport:
    name, direction = fields.pop("name", "R@1"), fields.pop("direction", "image_to_text")
    figures = tuple(
        Metric.model_validate(
            {"index": "mixed", "direction": direction, "slice": where, "name": name}
            | {"value": value, "low": value, "high": value, "queries": queries}
        )
        for where, value in values.items()
    )
    about = {"evaluation_hash": "set", "split": "test", "pictures": 1, "entities": 1000, "seconds": 0}
    return EvalReport.model_validate(about | {"model_fingerprint": fingerprint, "metrics": figures} | fields)


def decided(new: EvalReport, old: EvalReport | None, **policy: Any) -> PromotionDecision:
    """By the figures alone, without answers that could be paired."""
    return decide(
        new,
        [] if old is None else [Champion("v1.0.0", old)],
        policy=PromotionPolicy(**{"require_significant": False} | policy),
        data_hash="data",
        suite_hash="suite",
    )


OLD = {"all": 70.0, "few": 50.0, "none": 30.0}


@pytest.mark.parametrize(
    ("new", "policy", "promoted", "reason"),
    [
        ({"all": 72.0, "few": 50.0, "none": 30.0}, {}, True, "gain of +2.0 points; +0.0 are needed: enough"),
        ({"all": 70.0, "few": 50.0, "none": 30.0}, {}, True, "gain of +0.0 points"),
        ({"all": 69.9, "few": 50.0, "none": 30.0}, {}, False, "gain of -0.1 points; +0.0 are needed: too little"),
        ({"all": 71.0, "few": 50.0, "none": 30.0}, {"min_gain": 1.0}, True, "+1.0 are needed: enough"),
        ({"all": 70.9, "few": 50.0, "none": 30.0}, {"min_gain": 1.0}, False, "+1.0 are needed: too little"),
        ({"all": 69.5, "few": 50.0, "none": 30.0}, {"min_gain": -1.0}, True, "-1.0 are needed: enough"),
        ({"all": 75.0, "few": 45.0, "none": 30.0}, {}, True, "no slice loses more than 5.0 points"),
        ({"all": 75.0, "few": 44.0, "none": 30.0}, {}, False, "slice few changes from 50.0 of v1.0.0 to 44.0 over 100"),
        ({"all": 75.0, "few": 44.0, "none": 30.0}, {"max_slice_drop": 6}, True, "no slice loses"),
        ({"all": 75.0, "few": 44.0, "none": 30.0}, {"min_slice_queries": 101}, True, "not counted, since it has fewer"),
        ({"all": 75.0, "few": 50.0}, {}, False, "slice none was measured for v1.0.0 but not"),
        ({"all": 75.0, "few": 50.0, "none": 30.0, "one": 1.0}, {}, True, "no slice loses"),
        ({"all": float("nan"), "few": 50.0, "none": 30.0}, {}, False, "too little"),
        ({"all": 75.0, "few": float("nan"), "none": 30.0}, {}, False, "slice few changes from 50.0 of v1.0.0 to nan"),
    ],
)
def test_challenger_against_champion(new, policy, promoted, reason):
    decision = decided(report("new", new), report("old", OLD), **policy)
    assert decision.promoted is promoted
    assert reason in " | ".join(decision.reasons)
    assert (decision.challenger, decision.champion) == ("new", "v1.0.0")
    assert decision.policy == PromotionPolicy(**policy, require_significant=False)
    assert PromotionDecision.model_validate_json(decision.model_dump_json()) == decision


@pytest.mark.parametrize(
    ("accepts", "limit", "promoted", "reason"),
    [
        (
            9.0,
            0.1,
            True,
            "9.0 % of the pictures of unknown things get a sure tag at target precision 0.9",
        ),
        (11.0, 0.1, False, "10 % are allowed: too many"),
        (11.0, None, True, ""),
        (None, 0.1, False, "false accepts were not measured"),
    ],
)
@pytest.mark.parametrize("champion", [None, report("old", OLD)])
def test_challenger_has_to_keep_to_the_false_accept_rate(champion, accepts, limit, promoted, reason):
    where = {"index": "mixed", "direction": "image_to_text", "slice": "all", "name": "false_accept_at_0.9"}
    figures = () if accepts is None else (Metric(**where, value=accepts, low=0, high=100, queries=100),)
    new = report("new", {"all": 75.0, "few": 50.0, "none": 30.0}, open_set=figures)
    decision = decided(new, champion, max_false_accept_rate=limit)
    assert decision.promoted is promoted
    assert reason in " | ".join(decision.reasons)


@pytest.mark.parametrize(("value", "needed", "promoted"), [(0.2, 0.0, True), (40.0, 40.0, True), (39.9, 40.0, False)])
def test_first_champion_only_has_to_reach_the_minimal_value(value, needed, promoted):
    decision = decided(report("new", {"all": value}), None, min_first_score=needed)
    assert decision.promoted is promoted
    assert decision.reasons[0].startswith("there is no champion yet; R@1 of the mixed index is")
    assert decision.champion is None


def with_low(fingerprint: str, value: float, low: float, *, name: str = "R@1", **fields: Any) -> EvalReport:
    """A report with an interval of its own."""
    made = report(fingerprint, {"all": value}, name=name, **fields)
    return made.model_copy(update={"metrics": (made.metrics[0].model_copy(update={"low": low}),)})


@pytest.mark.parametrize(
    ("value", "low", "fields", "promoted"),
    [
        (0.0, 0.0, {"entities": 63}, False),
        (3.2, 0.0, {"entities": 63}, False),  # twice chance, and may be luck
        (9.5, 1.6, {"entities": 63}, True),  # chance is 1.587
        (1.587, 100 / 63, {"entities": 63}, False),
        (float("nan"), float("nan"), {}, False),
        (100.0, 100.0, {"entities": 1}, False),  # there is nothing to confuse it with
        (60.0, 51.0, {"entities": 10, "name": "R@5"}, True),
        (60.0, 49.0, {"entities": 10, "name": "R@5"}, False),
        (100.0, 100.0, {"entities": 4, "name": "R@5"}, False),
    ],
)
def test_a_first_champion_beats_chance_with_the_lower_end_of_its_interval(value, low, fields, promoted):
    decision = decided(with_low("new", value, low, **fields), None, metric=fields.get("name", "R@1"))
    assert decision.promoted is promoted
    assert "chance is" in decision.reasons[0]
    assert ("promotion.require_above_chance: false" in decision.reasons[-1]) is not promoted


def test_chance_of_a_first_champion_is_written_down_even_where_it_need_not_be_beaten():
    decision = decided(with_low("new", 0.0, 0.0, entities=63), None, require_above_chance=False)
    assert decision.promoted
    assert "chance is 1.6, require_above_chance is off" in decision.reasons[0]
    assert not decision.policy.require_above_chance


def test_a_champion_that_is_there_is_compared_and_not_held_against_chance():
    assert decided(with_low("new", 0.2, 0.0), with_low("old", 0.1, 0.0)).promoted


@pytest.mark.parametrize(
    ("value", "low", "entities", "expected"),
    [
        (40.0, 30.0, 100, ""),
        (12.0, 10.0, 100, ""),
        (12.0, 9.9, 100, "R@1 of the explanation index is 12.0 [9.9, 9.9]; the lower end must be above chance, 1.0"),
        (30.0, 20.0, 5, "above chance, 20.0"),
        (float("nan"), float("nan"), 100, "gate.min_judge_score, 10"),
    ],
)
def test_a_model_below_the_floor_is_no_judge(value, low, entities, expected):
    made = with_low("new", value, low, entities=entities)
    figure = made.metrics[0].model_copy(update={"index": "explanation", "high": low})
    flaw = judge_flaw(made.model_copy(update={"metrics": (figure,)}), min_score=10)
    assert (expected in flaw) if expected else not flaw


def test_a_model_that_was_not_measured_is_no_judge():
    assert judge_flaw(None, min_score=0) == "R@1 of the explanation index was not measured"
    assert judge_flaw(report("new", {"all": 90.0}), min_score=0) == "R@1 of the explanation index was not measured"


def test_only_the_preset_tiny_switches_the_floors_off():
    assert [name for name in PRESETS if not preset(name).floors] == ["tiny"]


def test_every_slice_that_lost_is_named():
    decision = decided(report("new", {"all": 60.0, "few": 10.0, "none": 3.0}), report("old", OLD))
    assert [r.split(" changes")[0] for r in decision.reasons[1:]] == ["slice few", "slice none"]


def test_champion_does_not_challenge_itself():
    decision = decided(report("same", {"all": 99.0}), report("same", OLD))
    assert not decision.promoted
    assert decision.reasons == ("this model is the champion v1.0.0 already",)


def test_reports_about_different_sets_are_not_compared():
    with pytest.raises(ConfigError, match=r"v1\.0\.0 was evaluated on set older.*evaluate the champion again"):
        decided(report("new", OLD), report("old", OLD, evaluation_hash="older"))


@pytest.mark.parametrize("policy", [{"metric": "R@7"}, {"metric": "mean_rank"}, {"index": "caption"}])
def test_policy_on_an_unmeasured_figure_is_refused(policy):
    for champion in (None, report("old", OLD)):
        with pytest.raises(ConfigError, match=r"policy\.metric is .* for which higher is better"):
            decided(report("new", OLD), champion, **policy)


def test_policy_may_decide_by_average_precision():
    mean = {"name": "mAP", "direction": "text_to_image"}
    decision = decided(report("new", {"all": 71.0}, **mean), report("old", {"all": 70.0}, **mean), metric="mAP")
    assert decision.promoted


def test_a_recall_is_that_of_pictures_that_look_for_their_entity():
    """A news set is measured in both directions; the gain on the same queries has only this one."""
    both = [report("new", {"all": v}, direction=d) for v, d in ((71.0, "image_to_text"), (10.0, "text_to_image"))]
    new = both[0].model_copy(update={"metrics": (*both[0].metrics, *both[1].metrics)})
    assert decided(new, report("old", {"all": 70.0})).promoted


def test_a_metric_without_an_interval_of_its_gain_cannot_be_significant():
    with pytest.raises(ValidationError, match="expected one of them, or require_significant: false"):
        PromotionPolicy(metric="mAP")


# ---------------------------------------------------------------- answers to the same queries
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


def test_category_without_answers_is_noted_and_a_language_refuses():
    old = {"all": 50.0, "category=cup": 50.0, "language=ja": 50.0}
    noted = decided(report("new", old | {"category=cup": 0.0}), report("old", old))
    assert noted.promoted
    assert "it has no interval: noted only" in noted.reasons[1]
    assert not decided(report("new", old | {"language=ja": 40.0}), report("old", old)).promoted


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


def test_gain_that_cannot_be_paired_is_never_sure():
    decision = decided(report("new", {"all": 90.0}), report("old", {"all": 10.0}), require_significant=True)
    assert not decision.promoted
    assert decision.gain is None


# ---------------------------------------------------------------- service
@pytest.mark.parametrize(
    ("budgets", "certified", "reason"),
    [
        ({}, True, "95 of 100 pictures are tagged within 40 ms"),
        ({"latency_ms": 40.0, "size_mb": 12.5}, True, "40 ms are allowed: within"),
        ({"latency_ms": 39.9}, False, "39.9 ms are allowed: too much"),
        ({"size_mb": 12}, False, "the package weighs 12.5 MB; 12 MB are allowed: too much"),
    ],
)
def test_release_is_certified_for_service_within_its_budgets(budgets, certified, reason):
    release = Release(version="v1.0.0", commit="c", model_fingerprint="new", data_hash="d")
    policy = PromotionPolicy(**budgets)
    serving_check = certify(release, policy=policy, largest_difference=1e-6, latency_ms=40.0, size_mb=12.5)
    assert serving_check.certified is certified
    assert reason in " | ".join(serving_check.reasons)
    assert (serving_check.version, serving_check.model_fingerprint, serving_check.policy) == ("v1.0.0", "new", policy)
