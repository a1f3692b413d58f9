"""All figures of the report: what a release found, what was assumed, and what follows from both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from entityclip.errors import DataError
from entityclip.reports.value.criteria import TARGETS, Criteria
from entityclip.reports.value.figures import Figures, FigureUnit
from entityclip.reports.value.readings import (
    ReleaseEvidence,
    read_assumptions,
    read_costs,
    read_evaluation,
    read_learning_curve,
)
from entityclip.reports.value.savings import (
    Month,
    Sensitivity,
    Tagging,
    break_even_pictures,
    checking_cost,
    corners,
    month_today,
    month_with,
    payback_months,
    running_cost,
    sensitivities,
    stage_saving,
    stages_payback,
    suggestion_minutes_at,
    without_tags,
)


@dataclass(frozen=True)
class Findings:
    """What the page shows."""

    criteria: Criteria
    figures: Figures
    targets: tuple[float, ...]
    """Operating points that were evaluated."""
    best: Tagging
    """At the operating point of the decision."""
    run_seconds: float
    sensitivities: tuple[Sensitivity, ...]


def find(criteria: Criteria, evidence: ReleaseEvidence) -> Findings:
    """Read and compute every figure.

    Raises:
        DataError: The release was evaluated without R@1 or R@5 of the mixed index, or without open-set figures at the
            decision's target precision.
    """
    figures = Figures()
    read_assumptions(figures, criteria, evidence.criteria)
    read_evaluation(figures, evidence.evaluation)
    if evidence.learning_curve is not None:
        read_learning_curve(figures, evidence.learning_curve)
    seconds = read_costs(figures, evidence)
    _today(figures, criteria)
    _running(figures, criteria, seconds)
    targets = tuple(target for target in TARGETS if f"sure_at_{target}" in figures)
    if criteria.decision.target_precision not in targets:
        raise DataError(
            f"{evidence.evaluation.name}: has no open-set figures at target precision "
            f"{criteria.decision.target_precision:g}; evaluate the release with this version: entityclip run"
        )
    _suggestions(figures, criteria)
    for target in targets:
        _operating_point(figures, criteria, target)
        _parts(figures, criteria, target)
    best = tagging_at(figures, criteria.decision.target_precision)
    _break_even(figures, criteria, best, seconds=seconds)
    for target in targets:
        if target != criteria.decision.target_precision:
            _payback(figures, criteria, target, f"payback_at_{target}")
    _longest_search(figures, criteria, seconds=seconds)
    moved = tuple(sensitivities(criteria, best, run_seconds=seconds))
    _sensitivity(figures, criteria, moved)
    _stages(figures, criteria)
    return Findings(criteria, figures, targets, best, seconds, moved)


# ---------------------------------------------------------------- what follows
_WORK = ("workload.pictures_per_month", "today.minutes_per_picture", "today.wrong_in_the_end")
_PRICES = ("money.cost_per_hour", "money.cost_per_mismatch")


def _today(figures: Figures, criteria: Criteria) -> None:
    today = month_today(criteria)
    figures.derive("today.hours", today.hours, "pictures x minutes / 60", _WORK[:2], unit="hours")
    figures.derive("today.mismatches", today.mismatches, "pictures x wrong", (_WORK[0], _WORK[2]), unit="count")
    inputs = ("today.hours", "today.mismatches", *_PRICES)
    figures.derive("today.cost", today.cost, "hours x price + mismatches x price", inputs, unit="money")


def _running(figures: Figures, criteria: Criteria, seconds: float) -> None:
    inputs = ["money.running_cost_per_month", "money.retrainings_per_month", "money.cost_per_machine_hour"]
    formula = "running cost + retrainings x seconds of a run / 3600 x price of a machine hour"
    if "run_seconds" not in figures:
        formula, inputs = "running cost; seconds of a run are not on record", inputs[:1]
    else:
        inputs.append("run_seconds")
    figures.derive("running_cost", running_cost(criteria, seconds), formula, inputs, unit="money")


def _suggestions(figures: Figures, criteria: Criteria) -> None:
    """Hours that five suggestions alone save, without automatic tags."""
    recall, today = figures["recall_at_5"], month_today(criteria).hours

    def saved(percent: float | None) -> float | None:
        alone = Tagging(sure=0.0, precision=1.0, false_accepts=0.0, in_first_five=(percent or 0.0) / 100)
        return None if percent is None else today - month_with(criteria, alone).hours

    figures.derive(
        "suggestions_hours",
        saved(recall.value),
        "pictures x ((1 - unknown) x R@5 x minutes today - suggestion) / 60",
        ("recall_at_5", *_WORK[:2], "workload.minutes_per_suggestion", "workload.unknown_share"),
        unit="hours",
        ends=(saved(recall.low), saved(recall.high)),
    )


def tagging_at(figures: Figures, target: float) -> Tagging:
    """The measured figures at one operating point."""
    return _tagging(figures, target, lambda name: figures.value(name))


def _tagging(figures: Figures, target: float, pick: Callable[[str], float]) -> Tagging:
    precise = f"precision_at_{target}"
    return Tagging(
        sure=pick(f"sure_at_{target}") / 100,
        precision=pick(precise) / 100 if precise in figures else 1.0,
        false_accepts=pick(f"false_accept_at_{target}") / 100,
        in_first_five=pick("recall_at_5") / 100,
    )


def _corners(figures: Figures, target: float) -> list[Tagging]:
    def end(name: str, *, low: bool) -> float:
        figure = figures[name]
        found = figure.low if low else figure.high
        return figures.value(name) if found is None else found

    low = _tagging(figures, target, lambda name: end(name, low=True))
    return corners(low, _tagging(figures, target, lambda name: end(name, low=False)))


def _operating_point(figures: Figures, criteria: Criteria, target: float) -> None:
    """Every figure of a month at one target, with the least and the most that the intervals allow."""
    best, ends = tagging_at(figures, target), _corners(figures, target)
    month, possible = month_with(criteria, best), [month_with(criteria, one) for one in ends]
    today = month_today(criteria)
    measured = [f"sure_at_{target}", f"false_accept_at_{target}", "workload.unknown_share"]
    precise = [f"precision_at_{target}"] if f"precision_at_{target}" in figures else []

    def add(
        name: str, of: Callable[[Month], float | None], formula: str, inputs: Sequence[str], unit: FigureUnit
    ) -> None:
        values = [value for one in possible if (value := of(one)) is not None]
        figures.derive(f"{name}_at_{target}", of(month), formula, inputs, unit=unit, ends=_range(values))

    automatic = "(1 - unknown) x sure + unknown x false accepts"
    add("automatic", lambda one: 100 * one.automatic, automatic, measured, "percent")
    add("by_hand", lambda one: 100 * (1 - one.automatic), "100 - automatic", [f"automatic_at_{target}"], "percent")
    right = "(1 - unknown) x sure x precision / automatic"
    add("right_tags", lambda one: _percent(one.precision), right, [*measured, *precise], "percent")
    work = [f"by_hand_at_{target}", f"sure_at_{target}", "recall_at_5", *_WORK, "workload.minutes_per_suggestion"]
    hours = (
        "pictures x (by hand x suggestion + (by hand - helped) x minutes today) / 60; "
        "helped: (1 - unknown) x (R@5 - sure)"
    )
    add("hours", lambda one: one.hours, hours, [*work, "workload.unknown_share"], "hours")
    wrong = "pictures x (wrong automatic tags + by hand x wrong today)"
    add("mismatches", lambda one: one.mismatches, wrong, [*measured, *precise, _WORK[0], _WORK[2]], "count")
    spent = [f"hours_at_{target}", f"mismatches_at_{target}", *_PRICES]
    add("cost", lambda one: one.cost, "hours x price + mismatches x price", spent, "money")
    saved = ["today.hours", f"hours_at_{target}"]
    add("hours_saved", lambda one: today.hours - one.hours, "hours today - hours", saved, "hours")
    saved = ["today.mismatches", f"mismatches_at_{target}"]
    add("mismatches_saved", lambda one: today.mismatches - one.mismatches, "mismatches today - theirs", saved, "count")
    running = figures.value("running_cost")
    money = [f"hours_saved_at_{target}", f"mismatches_saved_at_{target}", *_PRICES, "running_cost"]
    formula = "hours saved x price + mismatches saved x price - running cost"
    add("net", lambda one: today.cost - one.cost - running, formula, money, "money")


def _parts(figures: Figures, criteria: Criteria, target: float) -> None:
    """Hours that automatic tags add to those of suggestions, and what it would cost to check these tags."""

    def added(one: Tagging) -> float:
        return month_with(criteria, without_tags(one)).hours - month_with(criteria, one).hours

    inputs = [f"hours_saved_at_{target}", "suggestions_hours"]
    best, ends = added(tagging_at(figures, target)), [added(one) for one in _corners(figures, target)]
    formula = "hours saved - hours saved by suggestions alone"
    figures.derive(f"tags_hours_at_{target}", best, formula, inputs, unit="hours", ends=_range(ends))
    automatic = figures[f"automatic_at_{target}"]
    costs = [checking_cost(criteria, (end or 0.0) / 100) for end in (automatic.value, automatic.low, automatic.high)]
    inputs = [automatic.name, _WORK[0], "workload.minutes_per_suggestion", _PRICES[0]]
    formula = "pictures x automatic x suggestion / 60 x price"
    figures.derive(f"checks_at_{target}", costs[0], formula, inputs, unit="money", ends=(costs[1], costs[2]))


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _range(values: Sequence[float]) -> tuple[float | None, float | None]:
    return (min(values), max(values)) if values else (None, None)


def _break_even(figures: Figures, criteria: Criteria, best: Tagging, *, seconds: float) -> None:
    _payback(figures, criteria, criteria.decision.target_precision, "payback")
    gain = figures[f"net_at_{criteria.decision.target_precision}"]
    pictures = break_even_pictures(criteria, best, run_seconds=seconds)
    inputs = ["running_cost", gain.name, "workload.pictures_per_month"]
    figures.derive("break_even", pictures, "running cost / saving of a picture", inputs, unit="count")


def _payback(figures: Figures, criteria: Criteria, target: float, name: str) -> None:
    gain = figures[f"net_at_{target}"]
    inputs = [gain.name, "money.building_cost"]
    earliest, latest = (payback_months(criteria, end or 0.0) for end in (gain.high, gain.low))
    months = payback_months(criteria, figures.value(gain.name))
    figures.derive(name, months, "building cost / net", inputs, unit="months", ends=(earliest, latest))


def _longest_search(figures: Figures, criteria: Criteria, *, seconds: float) -> None:
    """Minutes of a search with suggestions at which the net saving is that of the Go limit, and zero."""
    target = criteria.decision.target_precision
    best, ends = tagging_at(figures, target), _corners(figures, target)
    limits = {"suggestion_minutes.zero": 0.0}
    if criteria.success.min_net_per_month is not None:
        limits["suggestion_minutes.go"] = criteria.success.min_net_per_month
    for name, least in limits.items():
        found = [suggestion_minutes_at(criteria, one, least, run_seconds=seconds) for one in (best, *ends)]
        if any(minutes is None for minutes in found):
            continue
        values = [minutes for minutes in found if minutes is not None]
        inputs = [f"net_at_{target}", "workload.minutes_per_suggestion", f"by_hand_at_{target}", *_PRICES[:1]]
        inputs += ["success.min_net_per_month"] if name.endswith("go") else []
        formula = "suggestion + (net - limit) / (pictures x by hand x price / 60)"
        figures.derive(name, values[0], formula, inputs, unit="minutes", ends=_range(values))


def _sensitivity(figures: Figures, criteria: Criteria, moved: Sequence[Sensitivity]) -> None:
    gain = f"net_at_{criteria.decision.target_precision}"
    for one in moved:
        for side, value in (("less", one.less), ("more", one.more)):
            formula = f"net with this assumption 50 % {'smaller' if side == 'less' else 'larger'}"
            figures.derive(f"net_{side}.{one.assumption}", value, formula, [gain, one.assumption], unit="money")


def _stages(figures: Figures, criteria: Criteria) -> None:
    """What each stage of the introduction costs and saves, and the balance of all stages up to it."""
    target = criteria.decision.target_precision
    best, ends = tagging_at(figures, target), _corners(figures, target)
    balance, low, high = 0.0, 0.0, 0.0
    for number, stage in enumerate(criteria.stages):
        name = f"stage.{number}"
        given = [f"{name}.{field}" for field in ("months", "pictures_per_month", "cost_once", "running_cost_per_month")]
        cost = stage.cost_once + stage.months * stage.running_cost_per_month
        inputs = [given[0], *given[2:]]
        figures.derive(f"{name}.cost", cost, "once + months x running cost", inputs, unit="money")
        possible = [stage_saving(criteria, stage, one) for one in ends]
        saved, least, most = stage_saving(criteria, stage, best), min(possible), max(possible)
        inputs = [*given[:2], "today.cost", f"cost_at_{target}", "workload.pictures_per_month"]
        formula = "months x pictures x saving of a picture"
        figures.derive(f"{name}.saved", saved, formula, inputs, unit="money", ends=(least, most))
        balance, low, high = balance + saved - cost, low + least - cost, high + most - cost
        inputs = [f"stage.{earlier}.{part}" for earlier in range(number + 1) for part in ("saved", "cost")]
        formula = "sum of saved - cost of the stages so far"
        figures.derive(f"{name}.balance", balance, formula, inputs, unit="money", ends=(low, high))
    if criteria.stages:
        found = [stages_payback(criteria, one) for one in ends]
        values = [months for months in found if months is not None]
        inputs = [f"stage.{number}.balance" for number in range(len(criteria.stages))]
        figures.derive(
            "stages_payback",
            stages_payback(criteria, best),
            "months from which the balance of the stages stays at or above 0",
            inputs,
            unit="months",
            ends=(min(values, default=None), max(values) if len(values) == len(found) else None),
        )
