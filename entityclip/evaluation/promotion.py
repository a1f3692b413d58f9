"""Whether a challenger replaces the champion: plain arithmetic on two reports about the same evaluation set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd

from entityclip.errors import ConfigError
from entityclip.evaluation.paired import SliceChange, paired_gain, slice_changes
from entityclip.schemas import (
    EvalReport,
    ExportedRuntime,
    Gain,
    Metric,
    PromotionDecision,
    PromotionPolicy,
    Release,
    RuntimeDecision,
    ServingCheck,
)

ROUNDING = 1e-9
"""Tolerance in points for rounding."""


@dataclass(frozen=True, eq=False)
class Champion:
    """A present or former champion, measured on the challenger's evaluation set."""

    version: str
    report: EvalReport
    queries: pd.DataFrame | None = None
    """The evaluator's rows; None: nothing can be paired."""


def decide(
    challenger: EvalReport,
    champions: Sequence[Champion],
    *,
    policy: PromotionPolicy,
    data_hash: str,
    suite_hash: str,
    queries: pd.DataFrame | None = None,
    looks: int = 1,
) -> PromotionDecision:
    """Promote or refuse the challenger, with a sentence for each reason.

    Args:
        challenger: Report of the new model.
        champions: The champion in service first, then those before it: the gain is over the first, and slices are held
            against all of them, so that a loss that is allowed once is not allowed again each night. Empty where there
            is none.
        policy: Required gain and permitted losses.
        data_hash: Data that the challenger was trained on.
        suite_hash: Rules that those data passed.
        queries: The evaluator's rows of the challenger. With those of a champion they give the intervals of the gain
            and of each slice.
        looks: Challengers that were compared with the champion in service, this one included.

    Raises:
        ConfigError: The reports are about different evaluation sets, or the policy names a metric that was not
            measured.
    """
    gain, current = None, champions[0] if champions else None
    if current is None:
        passed, reasons = _against_none(challenger, policy)
    elif challenger.model_fingerprint == current.report.model_fingerprint:
        passed, reasons = False, [f"this model is the champion {current.version} already"]
    else:
        for champion in champions:
            _require_same_set(challenger, champion)
        if queries is not None and current.queries is not None:
            gain = paired_gain(queries, current.queries, policy=policy, looks=looks)
        wins, won = _gain(challenger, current, policy=policy, paired=gain)
        holds, losses = _slices(challenger, champions, policy=policy, queries=queries)
        passed, reasons = wins and holds, [won, *losses]
    refusing, accepts = _false_accepts(challenger, policy)
    passed, reasons = passed and refusing, [*reasons, *accepts]
    return PromotionDecision(
        promoted=passed,
        reasons=tuple(reasons),
        challenger=challenger.model_fingerprint,
        champion=None if current is None else current.version,
        data_hash=data_hash,
        suite_hash=suite_hash,
        evaluation_hash=challenger.evaluation_hash,
        policy=policy,
        gain=gain,
    )


def certify(
    release: Release,
    *,
    policy: PromotionPolicy,
    largest_difference: float,
    latency_ms: float,
    size_mb: float,
    runtimes: Mapping[ExportedRuntime, RuntimeDecision] = MappingProxyType({}),
) -> ServingCheck:
    """Whether a release that passed its smoke test is within the policy's budgets.

    Args:
        release: The release that was packaged and served.
        policy: Holds the budgets.
        largest_difference: Largest difference between a score of the service and the evaluator's.
        latency_ms: Time within which 95 of 100 pictures were tagged.
        size_mb: Size of the packaged model with its indexes, in 10^6 bytes.
        runtimes: Which exported runtimes ship with it, for the reasons: none of them refuses the release.
    """
    tagged, latency_budget = f"95 of 100 pictures are tagged within {latency_ms:.0f} ms", policy.latency_ms
    weighs, size_budget = f"the package weighs {size_mb:.1f} MB", policy.size_mb
    within = [
        (latency_budget is None or latency_ms <= latency_budget, tagged, latency_budget, "ms"),
        (size_budget is None or size_mb <= size_budget, weighs, size_budget, "MB"),
    ]
    budgets = [
        text if budget is None else f"{text}; {budget:g} {unit} are allowed: {'within' if kept else 'too much'}"
        for kept, text, budget, unit in within
    ]
    shipping = [
        f"{name} {'ships' if decision.ships else 'does not ship'}: {'; '.join(decision.reasons)}"
        for name, decision in runtimes.items()
    ]
    return ServingCheck(
        certified=all(kept for kept, *_ in within),
        reasons=(f"it answers within {largest_difference:.0e} of the evaluator", *budgets, *shipping),
        version=release.version,
        model_fingerprint=release.model_fingerprint,
        largest_difference=largest_difference,
        latency_ms=latency_ms,
        size_mb=size_mb,
        policy=policy,
    )


def _require_same_set(challenger: EvalReport, champion: Champion) -> None:
    if challenger.evaluation_hash != champion.report.evaluation_hash:
        raise ConfigError(
            f"champion {champion.version} was evaluated on set {champion.report.evaluation_hash}, the challenger on "
            f"{challenger.evaluation_hash}: their figures cannot be compared; evaluate the champion again on the "
            "challenger's data"
        )


def chance_level(figure: Metric, report: EvalReport) -> float:
    """Average result of a random ranking, in percent."""
    candidates = max(1, report.entities if figure.direction == "image_to_text" else report.pictures)
    if figure.name.startswith("R@"):
        return 100 * min(1.0, int(figure.name.removeprefix("R@")) / candidates)
    return 100 * (math.log(candidates) + 1) / candidates  # bounds the mean of 1/rank, and so a mean average precision


def judge_flaw(report: EvalReport | None, *, min_score: float) -> str:
    """Why a model is too weak to judge texts by their pictures; empty if it is good enough.

    Args:
        report: The model's evaluation; None: it was not evaluated.
        min_score: Points of R@1 of the explanation index that the lower end of its 95 % interval must reach. It must
            also be above chance.
    """
    found = (m for m in report.metrics if m.slice == "all" and m.direction == "image_to_text") if report else ()
    figure = next((m for m in found if (m.index, m.name) == ("explanation", "R@1")), None)
    if report is None or figure is None:
        return "R@1 of the explanation index was not measured"
    guessed = chance_level(figure, report)
    if figure.low > guessed and figure.low >= min_score - ROUNDING:
        return ""
    return (
        f"R@1 of the explanation index is {figure.value:.1f} [{figure.low:.1f}, {figure.high:.1f}]; the lower end must "
        f"be above chance, {guessed:.1f}, and at least gate.min_judge_score, {min_score:g}"
    )


def _against_none(challenger: EvalReport, policy: PromotionPolicy) -> tuple[bool, list[str]]:
    new = deciding(challenger, policy)["all"]
    guessed = chance_level(new, challenger)
    beats_chance = new.low > guessed or not policy.require_above_chance
    passed = new.value >= policy.min_first_score - ROUNDING and beats_chance
    needed = "the lower end must be above it" if policy.require_above_chance else "require_above_chance is off"
    at_least = f"; {policy.min_first_score:.1f} are needed" if policy.min_first_score else ""
    reasons = [
        f"there is no champion yet; {_title(policy)} is {new.value:.1f} [{new.low:.1f}, {new.high:.1f}] over "
        f"{new.queries:,} queries; chance is {guessed:.1f}, {needed}{at_least}: {'enough' if passed else 'too little'}"
    ]
    if not beats_chance:
        reasons.append(
            "the interval includes chance: train longer, add pictures of each entity, or add test pictures, which "
            "narrow the interval; promotion.require_above_chance: false in entityclip.yaml promotes the model anyway"
        )
    return passed, reasons


def _gain(
    challenger: EvalReport, champion: Champion, *, policy: PromotionPolicy, paired: Gain | None
) -> tuple[bool, str]:
    new, old = deciding(challenger, policy)["all"], deciding(champion.report, policy)["all"]
    gain = new.value - old.value
    passed, needed = suffices(gain, paired, policy=policy), f"{policy.min_gain:+.1f} are needed"
    if policy.require_significant:
        needed = f"the whole interval must lie above {policy.min_gain:+.1f}"
    interval = f" ({_level(paired.looks)} interval {paired.low:+.1f} to {paired.high:+.1f})" if paired else ""
    return passed, (
        f"{_title(policy)} is {new.value:.1f} against {old.value:.1f} of {champion.version} over {new.queries:,} "
        f"queries, a gain of {gain:+.1f} points{interval}; {needed}: {'enough' if passed else 'too little'}"
    )


def suffices(points: float, paired: Gain | None, *, policy: PromotionPolicy) -> bool:
    """Whether a gain is what the policy requires.

    Args:
        points: Gain over all queries, in points.
        paired: The same on paired queries, with its interval; None: not measured.
        policy: Required gain, and whether the whole interval must lie above it.
    """
    if policy.require_significant:
        return paired is not None and paired.low > policy.min_gain + ROUNDING
    return points >= policy.min_gain - ROUNDING


def _level(looks: int) -> str:
    """The level of a gain's interval, and why it is not 95 %."""
    return "95 %" if looks == 1 else f"{100 - 5 / looks:.4g} %, look {looks} at this champion,"


def _slices(
    challenger: EvalReport, champions: Sequence[Champion], *, policy: PromotionPolicy, queries: pd.DataFrame | None
) -> tuple[bool, list[str]]:
    """Whether no slice loses too much against any of the champions, and a sentence for each that does or may."""
    passed, reasons = True, []
    for champion in champions:
        new, old = deciding(challenger, policy), deciding(champion.report, policy)
        changes: dict[str, SliceChange] = {}
        if queries is not None and champion.queries is not None:
            changes = {change.name: change for change in slice_changes(queries, champion.queries, policy=policy)}
        for name in [n for n in old if n != "all"]:
            if name not in new:
                passed = False
                reasons.append(f"slice {name} was measured for {champion.version} but not for the challenger")
                continue
            held, why = _verdict(new[name], old[name], changes.get(name), policy=policy)
            passed = passed and held
            if why:
                reasons.append(
                    f"slice {name} changes from {old[name].value:.1f} of {champion.version} to {new[name].value:.1f} "
                    f"over {new[name].queries:,} queries; a loss of {policy.max_slice_drop:.1f} points is allowed: "
                    f"{why}"
                )
    versions = ", ".join(champion.version for champion in champions)
    return passed, reasons or [f"no slice loses more than {policy.max_slice_drop:.1f} points against {versions}"]


def _verdict(new: Metric, old: Metric, change: SliceChange | None, *, policy: PromotionPolicy) -> tuple[bool, str]:
    """Whether a slice holds, and why that is worth a sentence; empty where it is not.

    Where the slice is large enough to show it, the whole interval must lie within the allowed loss; elsewhere, the
    loss itself. Of many small categories, one always looks bad by chance, so these refuse only by the whole interval.
    """
    allowed = policy.max_slice_drop + ROUNDING
    within = old.value - new.value <= allowed  # false also where one is not a number
    category = new.slice.startswith("category=")
    if new.queries < policy.min_slice_queries:
        return True, "" if within else f"not counted, since it has fewer than {policy.min_slice_queries}"
    if change is None:
        lost, known = not (within or category), "it has no interval"
    else:
        known = f"the interval of all slices together is {change.low:+.1f} to {change.high:+.1f}"
        if change.high - change.low <= allowed:
            shown = change.low >= -allowed
            return shown, "" if shown else f"{known}, narrow enough to lie within, and it does not: too much"
        lost = change.high < -allowed if category else not within
    return not lost, "" if within else f"{known}: {'too much' if lost else 'noted only'}"


def _false_accepts(challenger: EvalReport, policy: PromotionPolicy) -> tuple[bool, list[str]]:
    """Whether few enough unknown pictures get a sure tag, and the sentence for it; nothing without a limit."""
    if policy.max_false_accept_rate is None:
        return True, []
    limit, found = 100 * policy.max_false_accept_rate, challenger.open_set_value("false_accept_at_0.9")
    if found is None:
        return False, ["false accepts were not measured, so that promotion.max_false_accept_rate cannot be checked"]
    passed = found <= limit + ROUNDING
    return passed, [
        f"{found:.1f} % of the pictures of unknown things get a sure tag at target precision 0.9; {limit:g} % are "
        f"allowed: {'within' if passed else 'too many'}"
    ]


def deciding(report: EvalReport, policy: PromotionPolicy) -> dict[str, Metric]:
    """Slice -> the metric that decides.

    Raises:
        ConfigError: The policy names a metric that was not measured.
    """
    wanted = (policy.index, policy.metric, policy.direction)
    found = {m.slice: m for m in report.metrics if (m.index, m.name, m.direction) == wanted}
    if "all" not in found or policy.metric.endswith("rank"):
        known = sorted({m.name for m in report.metrics if m.index == policy.index and not m.name.endswith("rank")})
        raise ConfigError(
            f"policy.metric is {policy.metric!r}; expected a metric of the {policy.index} index for which higher is "
            f"better: {', '.join(known) or 'none was measured'}"
        )
    return found


def _title(policy: PromotionPolicy) -> str:
    return f"{policy.metric} of the {policy.index} index"
