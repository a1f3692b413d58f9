"""The arithmetic of one month: minutes, mismatches and money, today and with automatic tags.

A person handles every picture today. With a release, a picture with a sure tag needs no one. Every other picture goes
to a person with five suggestions: where the product is among them, looking at them is all the work; where it is not,
the search of today follows.

Three choices make a saving smaller rather than larger: every automatic tag is counted among the pictures whose product
is in the first five, so that fewer of the others are; suggestions do not make a person err less than today; and a
picture of something that the catalogue lacks is never helped by suggestions. Three make it larger: no one checks
automatic tags; a person recognises the right product among five each time; and the pictures that are left to people,
the harder ones, take as long and go wrong as often as the average of today.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace

from entityclip.reports.value.criteria import Criteria, RolloutStage

MINUTES_PER_HOUR = 60


@dataclass(frozen=True)
class Tagging:
    """What a release does with pictures at one operating point; shares, 0 to 1."""

    sure: float
    """Pictures of the catalogue with a sure tag, right or wrong."""
    precision: float
    """Of these tags, the right ones."""
    false_accepts: float
    """Pictures of unknown things with a sure tag."""
    in_first_five: float
    """Pictures of the catalogue whose product is among the first five (R@5)."""


@dataclass(frozen=True)
class Month:
    """The work of one month."""

    automatic: float
    """Share of the pictures with an automatic tag, 0 to 1."""
    precision: float | None
    """Share of automatic tags that are right, 0 to 1; None without any."""
    hours: float
    """Of people."""
    mismatches: float
    """Pictures that end with a wrong product."""
    cost: float
    """Of the hours and of the mismatches."""


def month_today(criteria: Criteria) -> Month:
    """A month in which people do all the work."""
    pictures = criteria.workload.pictures_per_month
    hours = pictures * criteria.today.minutes_per_picture / MINUTES_PER_HOUR
    return _month(criteria, automatic=0.0, right=0.0, hours=hours, wrong=criteria.today.wrong_in_the_end / 100)


def month_with(criteria: Criteria, tagging: Tagging) -> Month:
    """A month with a release at one operating point."""
    work, today = criteria.workload, criteria.today
    unknown = work.unknown_share / 100
    known = 1 - unknown
    automatic = known * tagging.sure + unknown * tagging.false_accepts
    right = known * tagging.sure * tagging.precision
    helped = known * max(0.0, tagging.in_first_five - tagging.sure)
    by_hand = 1 - automatic
    minutes = by_hand * work.minutes_per_suggestion + (by_hand - helped) * today.minutes_per_picture
    wrong = automatic - right + by_hand * today.wrong_in_the_end / 100
    hours = work.pictures_per_month * minutes / MINUTES_PER_HOUR
    return _month(criteria, automatic=automatic, right=right, hours=hours, wrong=wrong)


def without_tags(tagging: Tagging) -> Tagging:
    """The same release where it makes no automatic tag: each picture goes to a person, with suggestions."""
    return replace(tagging, sure=0.0, false_accepts=0.0)


def checking_cost(criteria: Criteria, automatic: float) -> float:
    """Money a month if a person checked each automatic tag for as long as five suggestions take.

    Args:
        criteria: Pictures, minutes and price.
        automatic: Share of the pictures with an automatic tag, 0 to 1.
    """
    minutes = criteria.workload.pictures_per_month * automatic * criteria.workload.minutes_per_suggestion
    return minutes / MINUTES_PER_HOUR * criteria.money.cost_per_hour


def _month(criteria: Criteria, *, automatic: float, right: float, hours: float, wrong: float) -> Month:
    mismatches = criteria.workload.pictures_per_month * wrong
    return Month(
        automatic=automatic,
        precision=right / automatic if automatic else None,
        hours=hours,
        mismatches=mismatches,
        cost=hours * criteria.money.cost_per_hour + mismatches * criteria.money.cost_per_mismatch,
    )


# ---------------------------------------------------------------- money
def running_cost(criteria: Criteria, run_seconds: float) -> float:
    """Money a month for servers and care, and for the machine that retrains, whose runs take ``run_seconds``."""
    money = criteria.money
    machine = money.retrainings_per_month * run_seconds / 3600 * money.cost_per_machine_hour
    return money.running_cost_per_month + machine


def net(criteria: Criteria, tagging: Tagging, *, run_seconds: float) -> float:
    """Money a month: what people cost less than today, less the running cost."""
    saved = month_today(criteria).cost - month_with(criteria, tagging).cost
    return saved - running_cost(criteria, run_seconds)


def payback_months(criteria: Criteria, net_per_month: float) -> float | None:
    """Months until the building cost is paid back; None where it never is."""
    return criteria.money.building_cost / net_per_month if net_per_month > 0 else None


def suggestion_minutes_at(criteria: Criteria, tagging: Tagging, least: float, *, run_seconds: float) -> float | None:
    """Minutes of a search with five suggestions at which the net saving of a month is ``least``.

    None where no picture goes to a person, or where the saving is below ``least`` even without any such minute.
    """
    work = criteria.workload
    now = net(criteria, tagging, run_seconds=run_seconds)
    longer = work.model_copy(update={"minutes_per_suggestion": work.minutes_per_suggestion + 1})
    per_minute = now - net(criteria.model_copy(update={"workload": longer}), tagging, run_seconds=run_seconds)
    if per_minute <= 0:
        return None
    minutes = work.minutes_per_suggestion + (now - least) / per_minute
    return minutes if minutes >= 0 else None


def break_even_pictures(criteria: Criteria, tagging: Tagging, *, run_seconds: float) -> float | None:
    """Pictures a month from which the saving covers the running cost; None where no picture saves anything."""
    one = _with_pictures(criteria, 1.0)
    per_picture = month_today(one).cost - month_with(one, tagging).cost
    return running_cost(criteria, run_seconds) / per_picture if per_picture > 0 else None


def _with_pictures(criteria: Criteria, pictures: float) -> Criteria:
    work = criteria.workload.model_copy(update={"pictures_per_month": pictures})
    return criteria.model_copy(update={"workload": work})


def stage_saving(criteria: Criteria, stage: RolloutStage, tagging: Tagging) -> float:
    """Money that people cost less in a stage of the introduction than without a release."""
    work = _with_pictures(criteria, stage.pictures_per_month)
    return stage.months * (month_today(work).cost - month_with(work, tagging).cost)


def stages_payback(criteria: Criteria, tagging: Tagging) -> float | None:
    """Months from which the balance of the stages stays at or above 0; None where it ends below 0.

    The cost of a stage that is paid once is due at its start; its savings and running costs are spread evenly.
    """
    balance, elapsed = 0.0, 0.0
    since: float | None = 0.0
    for stage in criteria.stages:
        balance -= stage.cost_once
        gain = stage_saving(criteria, stage, tagging) - stage.months * stage.running_cost_per_month
        if balance < 0:
            since = elapsed - balance / gain * stage.months if balance + gain >= 0 else None
        elif balance + gain < 0:
            since = None
        balance, elapsed = balance + gain, elapsed + stage.months
    return since


# ---------------------------------------------------------------- how sure
def corners(low: Tagging, high: Tagging) -> list[Tagging]:
    """Every combination of the ends of the four intervals."""
    return [Tagging(*ends) for ends in itertools.product(*zip(astuple(low), astuple(high), strict=True))]


ASSUMPTIONS = (
    "workload.pictures_per_month",
    "workload.unknown_share",
    "workload.minutes_per_suggestion",
    "today.minutes_per_picture",
    "today.wrong_in_the_end",
    "money.cost_per_hour",
    "money.cost_per_mismatch",
    "money.running_cost_per_month",
)
"""Assumptions that the net saving of a month depends on."""

SWING = 0.5
"""Each assumption is made smaller and larger by this share."""


@dataclass(frozen=True)
class Sensitivity:
    """The net saving of a month where one assumption is smaller or larger."""

    assumption: str
    less: float
    more: float

    @property
    def swing(self) -> float:
        """How much the saving changes between both."""
        return abs(self.more - self.less)

    @property
    def matters(self) -> bool:
        """Whether the saving changes at all, beyond rounding."""
        return self.swing > 1e-9 * max(1.0, abs(self.less))


def sensitivities(criteria: Criteria, tagging: Tagging, *, run_seconds: float) -> list[Sensitivity]:
    """The assumptions that matter most first."""
    found = [
        Sensitivity(name, *(net(changed, tagging, run_seconds=run_seconds) for changed in _changed(criteria, name)))
        for name in ASSUMPTIONS
    ]
    return sorted(found, key=lambda one: -one.swing)


def _changed(criteria: Criteria, name: str) -> Iterator[Criteria]:
    """The criteria with this assumption made smaller, then larger; a percentage stays below 100."""
    section, field = name.split(".")
    before = getattr(criteria, section)
    percent = field in ("unknown_share", "wrong_in_the_end")
    for factor in (1 - SWING, 1 + SWING):
        value = getattr(before, field) * factor
        after = before.model_copy(update={field: min(value, 100.0) if percent else value})
        yield criteria.model_copy(update={section: after})
