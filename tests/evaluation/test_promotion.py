"""Every branch of the promotion decision, by table."""

from typing import Any

import pytest
from promotion_reports import report
from pydantic import ValidationError

from entityclip.errors import ConfigError
from entityclip.evaluation.promotion import Champion, certify, decide, judge_flaw, suffices
from entityclip.schemas import EvalReport, Gain, Metric, PromotionDecision, PromotionPolicy, Release
from entityclip.training.presets import PRESETS, preset


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


def test_category_without_answers_is_noted_and_a_language_refuses():
    old = {"all": 50.0, "category=cup": 50.0, "language=ja": 50.0}
    noted = decided(report("new", old | {"category=cup": 0.0}), report("old", old))
    assert noted.promoted
    assert "it has no interval: noted only" in noted.reasons[1]
    assert not decided(report("new", old | {"language=ja": 40.0}), report("old", old)).promoted


def test_gain_that_cannot_be_paired_is_never_sure():
    decision = decided(report("new", {"all": 90.0}), report("old", {"all": 10.0}), require_significant=True)
    assert not decision.promoted
    assert decision.gain is None


@pytest.mark.parametrize(
    ("significant", "points", "low", "enough"),
    [
        (True, 9.0, 2.0 + 1e-12, False),
        (True, 9.0, 2.1, True),
        (False, 2.0 - 1e-12, -9.0, True),
        (False, 1.9, 3.0, False),
    ],
)
def test_rounding_never_decides_about_a_gain(significant, points, low, enough):
    policy = PromotionPolicy(min_gain=2.0, require_significant=significant)
    assert suffices(points, Gain(points=points, low=low, high=20.0, queries=9), policy=policy) == enough


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
