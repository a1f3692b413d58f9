"""Whether a challenger replaces the champion: plain arithmetic on two reports about the same evaluation set."""

from __future__ import annotations

import math

import pandas as pd

from entityclip.errors import ConfigError
from entityclip.retrieval import metrics
from entityclip.schemas import EvalReport, Gain, Metric, PromotionDecision, PromotionPolicy, Release, ServingCheck

ROUNDING = 1e-9
"""Tolerance in points for rounding."""


def decide(
    challenger: EvalReport,
    champion: EvalReport | None,
    *,
    policy: PromotionPolicy,
    champion_version: str | None,
    data_hash: str,
    suite_hash: str,
    queries: tuple[pd.DataFrame, pd.DataFrame] | None = None,
) -> PromotionDecision:
    """Promote or refuse the challenger, with a sentence for each reason.

    Args:
        challenger: Report of the new model.
        champion: Report of the model in service, on the same evaluation set; None when there is none.
        policy: Required gain and permitted losses.
        champion_version: Version of the model in service; None when there is none.
        data_hash: Data that the challenger was trained on.
        suite_hash: Rules that those data passed.
        queries: The evaluator's frames of challenger and champion. They give the 95 % interval of a gain in recall,
            which decides if the policy requires it, and by which a category can refuse the challenger.

    Raises:
        ConfigError: The reports are about different evaluation sets, the policy names a metric that was not
            measured, or only one of ``champion`` and ``champion_version`` is given.
    """
    if (champion is None) != (champion_version is None):
        missing = "report" if champion is None else "version"
        raise ConfigError(f"the champion's {missing} is missing; expected its report and its version, or neither")
    gain = None
    if champion is None:
        passed, reasons = _against_none(challenger, policy)
    elif challenger.model_fingerprint == champion.model_fingerprint:
        passed, reasons = False, [f"this model is the champion {champion_version} already"]
    else:
        _require_same_set(challenger, champion, champion_version)
        gain = None if queries is None else paired_gain(*queries, policy=policy)
        wins, won = _gain(challenger, champion, policy=policy, version=champion_version, paired=gain)
        holds, losses = _slices(challenger, champion, policy=policy, queries=queries)
        passed, reasons = wins and holds, [won, *losses]
    refusing, accepts = _false_accepts(challenger, policy)
    passed, reasons = passed and refusing, [*reasons, *accepts]
    return PromotionDecision(
        promoted=passed,
        reasons=tuple(reasons),
        challenger=challenger.model_fingerprint,
        champion=champion_version,
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
) -> ServingCheck:
    """Whether a release that passed its smoke test is within the policy's budgets.

    Args:
        release: The release that was packaged and served.
        policy: Holds the budgets.
        largest_difference: Largest difference between a score of the service and the evaluator's.
        latency_ms: Time within which 95 of 100 pictures were tagged.
        size_mb: Size of the packaged model with its indexes, in 10^6 bytes.
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
    return ServingCheck(
        certified=all(kept for kept, *_ in within),
        reasons=(f"it answers within {largest_difference:.0e} of the evaluator", *budgets),
        version=release.version,
        model_fingerprint=release.model_fingerprint,
        largest_difference=largest_difference,
        latency_ms=latency_ms,
        size_mb=size_mb,
        policy=policy,
    )


def _require_same_set(challenger: EvalReport, champion: EvalReport, version: str | None) -> None:
    if challenger.evaluation_hash != champion.evaluation_hash:
        raise ConfigError(
            f"champion {version} was evaluated on set {champion.evaluation_hash}, the challenger on "
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
    new = _deciding(challenger, policy)["all"]
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
    challenger: EvalReport,
    champion: EvalReport,
    *,
    policy: PromotionPolicy,
    version: str | None,
    paired: Gain | None,
) -> tuple[bool, str]:
    new, old = _deciding(challenger, policy)["all"], _deciding(champion, policy)["all"]
    gain = new.value - old.value
    surest = (
        gain if not policy.require_significant else paired.low if paired else float("nan")
    )  # nothing paired: nothing is sure
    passed = surest >= policy.min_gain - ROUNDING
    interval = f" (95 % interval {paired.low:+.1f} to {paired.high:+.1f})" if paired else ""
    needed = f"{policy.min_gain:+.1f} are needed{', by the whole interval' if policy.require_significant else ''}"
    return passed, (
        f"{_title(policy)} is {new.value:.1f} against {old.value:.1f} of {version} over {new.queries:,} queries, "
        f"a gain of {gain:+.1f} points{interval}; {needed}: {'enough' if passed else 'too little'}"
    )


def _slices(
    challenger: EvalReport,
    champion: EvalReport,
    *,
    policy: PromotionPolicy,
    queries: tuple[pd.DataFrame, pd.DataFrame] | None,
) -> tuple[bool, list[str]]:
    """Whether every slice is within its limit, and a sentence for each that is not."""
    new, old = _deciding(challenger, policy), _deciding(champion, policy)
    passed, reasons = True, []
    for name in [n for n in old if n != "all"]:
        if name not in new:
            passed = False
            reasons.append(f"slice {name} was measured for the champion but not for the challenger")
            continue
        loss, counted = old[name].value - new[name].value, new[name].queries
        if loss <= policy.max_slice_drop + ROUNDING:
            continue
        excuse = _excuse(name, counted, policy=policy, queries=queries)
        passed = passed and excuse is not None
        reasons.append(
            f"slice {name} falls from {old[name].value:.1f} to {new[name].value:.1f} over {counted:,} queries; "
            f"a loss of {policy.max_slice_drop:.1f} points is allowed: {excuse or 'too much'}"
        )
    return passed, reasons or [f"no slice loses more than {policy.max_slice_drop:.1f} points"]


def _excuse(
    name: str, counted: int, *, policy: PromotionPolicy, queries: tuple[pd.DataFrame, pd.DataFrame] | None
) -> str | None:
    """Why a loss beyond the tolerance does not refuse the challenger; None if it does.

    Of many categories, one always looks bad by chance, so a category refuses only by its interval.
    """
    if counted < policy.min_slice_queries:
        return f"not counted, since it has fewer than {policy.min_slice_queries}"
    if not name.startswith("category="):
        return None
    gain = None
    if queries is not None:
        new, old = queries
        gain = paired_gain(new[new["category"] == name.removeprefix("category=")], old, policy=policy)
    if gain is None:
        return "noted only, since a category without an interval may lose by chance"
    if gain.high < -policy.max_slice_drop:
        return None
    return f"noted only, since the 95 % interval of {gain.low:+.1f} to {gain.high:+.1f} reaches into what is allowed"


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


def _deciding(report: EvalReport, policy: PromotionPolicy) -> dict[str, Metric]:
    """Slice -> the metric that decides."""
    found = {m.slice: m for m in report.metrics if (m.index, m.name) == (policy.index, policy.metric)}
    if "all" not in found or policy.metric.endswith("rank"):
        known = sorted({m.name for m in report.metrics if m.index == policy.index and not m.name.endswith("rank")})
        raise ConfigError(
            f"policy.metric is {policy.metric!r}; expected a metric of the {policy.index} index for which higher is "
            f"better: {', '.join(known) or 'none was measured'}"
        )
    return found


def _title(policy: PromotionPolicy) -> str:
    return f"{policy.metric} of the {policy.index} index"


def paired_gain(
    challenger: pd.DataFrame, champion: pd.DataFrame, *, policy: PromotionPolicy, seed: int = 0
) -> Gain | None:
    """Gain of the challenger on the same queries, with its 95 % interval (paired bootstrap).

    The difficulty of the queries is the same for both and cancels, so the interval is far narrower than those of two
    recalls. None if the policy decides by another metric than a recall, which a single query does not have.

    Args:
        challenger: The evaluator's rows of the challenger.
        champion: The evaluator's rows of the champion; rows that the challenger lacks are left out.
        policy: Names index and metric.
        seed: Seed of the bootstrap.
    """
    if not policy.metric.startswith("R@"):
        return None
    k = int(policy.metric.removeprefix("R@"))
    new, old = (q[q["index"] == policy.index].set_index("pair_id") for q in (challenger, champion))
    won = 100 * ((new["rank"] <= k).astype(float) - (old["rank"] <= k).astype(float).reindex(new.index))
    (figure,) = metrics.mean_figures({"gain": won.to_numpy()}, new["entity_id"].to_numpy(), seed=seed)
    return Gain(points=figure.value, low=figure.low, high=figure.high, queries=figure.queries)
