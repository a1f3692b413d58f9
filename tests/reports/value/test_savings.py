"""The arithmetic of a month, against values that were computed by hand."""

from __future__ import annotations

import datetime

import pytest

from entityclip.reports.value.criteria import (
    Criteria,
    CriteriaLimits,
    Decision,
    Money,
    RolloutStage,
    Today,
    Workload,
)
from entityclip.reports.value.savings import (
    Tagging,
    break_even_pictures,
    checking_cost,
    corners,
    month_today,
    month_with,
    net,
    payback_months,
    running_cost,
    sensitivities,
    stages_payback,
    without_tags,
)

RUN_SECONDS = 1800.0
TAGGING = Tagging(sure=0.5, precision=0.9, false_accepts=0.1, in_first_five=0.8)


@pytest.fixture
def criteria() -> Criteria:
    limits = CriteriaLimits(min_recall_at_1=1.0)
    return Criteria(
        name="By hand",
        decision=Decision(decided_by="A", until=datetime.date(2027, 1, 29), target_precision=0.9),
        success=limits,
        withdrawal=limits,
        today=Today(right_at_first_try=60.0, right_in_the_end=90.0, wrong_in_the_end=5.0, minutes_per_picture=6.0),
        workload=Workload(pictures_per_month=1000.0, unknown_share=20.0, minutes_per_suggestion=1.0),
        money=Money(
            currency="EUR",
            cost_per_hour=60.0,  # 1 a minute
            cost_per_mismatch=10.0,
            building_cost=5540.0,
            running_cost_per_month=200.0,
            retrainings_per_month=4.0,
            cost_per_machine_hour=10.0,
        ),
    )


def test_today_is_all_by_hand(criteria: Criteria) -> None:
    today = month_today(criteria)
    assert (today.automatic, today.precision) == (0, None)
    assert today.hours == pytest.approx(100)  # 1000 x 6 / 60
    assert today.mismatches == pytest.approx(50)  # 1000 x 5 %
    assert today.cost == pytest.approx(6500)  # 6000 + 500


def test_a_month_with_automatic_tags(criteria: Criteria) -> None:
    month = month_with(criteria, TAGGING)
    assert month.automatic == pytest.approx(0.42)  # 0.8 x 0.5 + 0.2 x 0.1
    assert month.precision == pytest.approx(0.36 / 0.42)  # 0.8 x 0.45 right
    assert month.hours == pytest.approx(2620 / 60)  # 1000 x (0.58 x 1 + (0.58 - 0.24) x 6) minutes
    assert month.mismatches == pytest.approx(89)  # 1000 x (0.06 wrong tags + 0.58 x 5 %)
    assert month.cost == pytest.approx(3510)


def test_money_of_a_month(criteria: Criteria) -> None:
    assert running_cost(criteria, RUN_SECONDS) == pytest.approx(220)  # 200 + 4 x half an hour x 10
    assert running_cost(criteria, 0) == pytest.approx(200)
    assert net(criteria, TAGGING, run_seconds=RUN_SECONDS) == pytest.approx(2770)
    assert payback_months(criteria, 2770) == pytest.approx(2.0)
    assert payback_months(criteria, 0) is None
    assert payback_months(criteria, -1) is None
    pictures = break_even_pictures(criteria, TAGGING, run_seconds=RUN_SECONDS)
    assert pictures == pytest.approx(220 / 2.99)
    work = criteria.workload.model_copy(update={"pictures_per_month": pictures})
    even = criteria.model_copy(update={"workload": work})
    assert net(even, TAGGING, run_seconds=RUN_SECONDS) == pytest.approx(0, abs=1e-9)


def test_tags_that_are_all_wrong_cost_more_than_they_save(criteria: Criteria) -> None:
    money = criteria.money.model_copy(update={"cost_per_mismatch": 100.0})
    dear = criteria.model_copy(update={"money": money})
    wrong = Tagging(sure=1.0, precision=0.0, false_accepts=1.0, in_first_five=0.0)
    assert month_with(dear, wrong).mismatches == 1000
    assert net(dear, wrong, run_seconds=0) < 0
    assert break_even_pictures(dear, wrong, run_seconds=0) is None


def test_without_sure_tags_only_suggestions_help(criteria: Criteria) -> None:
    month = month_with(criteria, Tagging(sure=0, precision=1, false_accepts=0, in_first_five=0.8))
    assert (month.automatic, month.precision) == (0, None)
    assert month.hours == pytest.approx(1000 * (1 + (1 - 0.64) * 6) / 60)
    assert month.mismatches == pytest.approx(50)


def test_suggestions_alone_save_what_is_left_without_automatic_tags(criteria: Criteria) -> None:
    alone = without_tags(TAGGING)
    assert (alone.sure, alone.false_accepts, alone.in_first_five) == (0, 0, 0.8)
    assert month_with(criteria, alone).hours == pytest.approx(1000 * (1 + (1 - 0.64) * 6) / 60)


def test_to_check_each_automatic_tag_costs_what_five_suggestions_do(criteria: Criteria) -> None:
    assert checking_cost(criteria, 0.42) == pytest.approx(420)  # 1000 x 0.42 x 1 minute at 1 a minute
    assert checking_cost(criteria, 0) == 0


def test_every_combination_of_ends_is_considered() -> None:
    low, high = Tagging(0.1, 0.2, 0.3, 0.4), Tagging(0.5, 0.6, 0.7, 0.8)
    found = corners(low, high)
    assert len(set(found)) == 16
    assert {low, high, Tagging(0.1, 0.6, 0.3, 0.8)} <= set(found)


def test_the_assumption_that_matters_most_comes_first(criteria: Criteria) -> None:
    found = {one.assumption: one for one in sensitivities(criteria, TAGGING, run_seconds=RUN_SECONDS)}
    minutes = found["today.minutes_per_picture"]
    assert minutes.less == pytest.approx(790)  # 3 minutes: 3500 - (580 + 1020 + 890) - 220
    assert minutes.more == pytest.approx(4750)  # 9 minutes: 9500 - (580 + 3060 + 890) - 220
    swings = [one.swing for one in found.values()]
    assert swings == sorted(swings, reverse=True)
    assert all(one.matters for one in found.values())
    untagged = sensitivities(criteria, without_tags(TAGGING), run_seconds=RUN_SECONDS)
    wrong = {"today.wrong_in_the_end", "money.cost_per_mismatch"}
    assert {one.assumption for one in untagged if not one.matters} == wrong


def test_a_percentage_is_never_raised_beyond_a_hundred(criteria: Criteria) -> None:
    work = criteria.workload.model_copy(update={"unknown_share": 90.0})
    (unknown,) = (
        one
        for one in sensitivities(criteria.model_copy(update={"workload": work}), TAGGING, run_seconds=0)
        if one.assumption == "workload.unknown_share"
    )
    work = work.model_copy(update={"unknown_share": 100.0})
    all_unknown = criteria.model_copy(update={"workload": work})
    assert unknown.more == pytest.approx(net(all_unknown, TAGGING, run_seconds=0))


@pytest.mark.parametrize(("once", "months"), [(0.0, 0.0), (1000.0, None)])
def test_a_plan_that_never_costs_more_than_it_saved_pays_from_the_first_day(
    criteria: Criteria, once: float, months: float | None
) -> None:
    stage = RolloutStage(name="Cloud", months=1, pictures_per_month=100, cost_once=once, running_cost_per_month=0)
    assert stages_payback(criteria.model_copy(update={"stages": (stage,)}), TAGGING) == months
