"""Whether a challenger replaces the champion: plain arithmetic on two reports about the same evaluation set."""

from __future__ import annotations

import pandas as pd

from entityclip import metrics
from entityclip.errors import ConfigError
from entityclip.records import EvalReport, Metric, PromotionDecision, PromotionPolicy

ROUNDING = 1e-9
"""Points by which a figure may miss a limit through rounding alone."""


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
    """Promote or refuse, with a sentence for everything that counted.

    Args:
        challenger: Report of the new model.
        champion: Report of the model in service, on the same evaluation set; None when there is none.
        policy: What has to be won and what may be lost.
        champion_version: Version of the model in service; None when there is none.
        data_hash: Data that the challenger was trained on.
        suite_hash: Rules that those data passed.
        queries: The evaluator's frames of challenger and champion; with them a gain in recall gets its 95 %
            interval, which is written down but does not decide, and a category can refuse the challenger.

    Raises:
        ConfigError: The reports are about different evaluation sets, the policy asks for a figure that was not
            measured, or only one of ``champion`` and ``champion_version`` is given.
    """
    if (champion is None) != (champion_version is None):
        missing = "report" if champion is None else "version"
        raise ConfigError(f"the champion's {missing} is missing; expected its report and its version, or neither")
    if champion is None:
        passed, reasons = _against_none(challenger, policy)
    elif challenger.model_fingerprint == champion.model_fingerprint:
        passed, reasons = False, [f"this model is the champion {champion_version} already"]
    else:
        _require_same_set(challenger, champion, champion_version)
        wins, gain = _gain(challenger, champion, policy=policy, version=champion_version, queries=queries)
        holds, losses = _slices(challenger, champion, policy=policy, queries=queries)
        passed, reasons = wins and holds, [gain, *losses]
    return PromotionDecision(
        promoted=passed,
        reasons=tuple(reasons),
        challenger=challenger.model_fingerprint,
        champion=champion_version,
        data_hash=data_hash,
        suite_hash=suite_hash,
        evaluation_hash=challenger.evaluation_hash,
        policy=policy,
    )


def _require_same_set(challenger: EvalReport, champion: EvalReport, version: str | None) -> None:
    if challenger.evaluation_hash != champion.evaluation_hash:
        raise ConfigError(
            f"champion {version} was evaluated on set {champion.evaluation_hash}, the challenger on "
            f"{challenger.evaluation_hash}: their figures cannot be compared; evaluate the champion again on the "
            "challenger's data"
        )


def _against_none(challenger: EvalReport, policy: PromotionPolicy) -> tuple[bool, list[str]]:
    new = _deciding(challenger, policy)["all"]
    passed = new.value >= policy.minimal_value - ROUNDING
    return passed, [
        f"there is no champion yet; {_title(policy)} is {new.value:.1f} over {new.queries:,} queries, "
        f"{policy.minimal_value:.1f} are needed: {'enough' if passed else 'too little'}"
    ]


def _gain(
    challenger: EvalReport,
    champion: EvalReport,
    *,
    policy: PromotionPolicy,
    version: str | None,
    queries: tuple[pd.DataFrame, pd.DataFrame] | None,
) -> tuple[bool, str]:
    new, old = _deciding(challenger, policy)["all"], _deciding(champion, policy)["all"]
    gain = new.value - old.value
    passed = gain >= policy.minimal_gain - ROUNDING
    interval = ""
    if queries is not None and policy.metric.startswith("R@"):
        low, high = gain_interval(*queries, policy=policy)
        interval = f" (95 % interval {low:+.1f} to {high:+.1f})"
    return passed, (
        f"{_title(policy)} is {new.value:.1f} against {old.value:.1f} of {version} over {new.queries:,} queries, "
        f"a gain of {gain:+.1f} points{interval}; {policy.minimal_gain:+.1f} are needed: "
        f"{'enough' if passed else 'too little'}"
    )


def _slices(
    challenger: EvalReport,
    champion: EvalReport,
    *,
    policy: PromotionPolicy,
    queries: tuple[pd.DataFrame, pd.DataFrame] | None,
) -> tuple[bool, list[str]]:
    """Whether no slice loses too much, and a sentence for each that does."""
    new, old = _deciding(challenger, policy), _deciding(champion, policy)
    passed, reasons = True, []
    for name in [n for n in old if n != "all"]:
        if name not in new:
            passed = False
            reasons.append(f"slice {name} was measured for the champion but not for the challenger")
            continue
        loss, counted = old[name].value - new[name].value, new[name].queries
        if loss <= policy.slice_tolerance + ROUNDING:
            continue
        excuse = _excuse(name, counted, policy=policy, queries=queries)
        passed = passed and excuse is not None
        reasons.append(
            f"slice {name} falls from {old[name].value:.1f} to {new[name].value:.1f} over {counted:,} queries; "
            f"a loss of {policy.slice_tolerance:.1f} points is allowed: {excuse or 'too much'}"
        )
    return passed, reasons or [f"no slice loses more than {policy.slice_tolerance:.1f} points"]


def _excuse(
    name: str, counted: int, *, policy: PromotionPolicy, queries: tuple[pd.DataFrame, pd.DataFrame] | None
) -> str | None:
    """Why a loss beyond the tolerance refuses nobody; None where it does.

    Of many categories one always looks bad by chance, so that a category needs its interval as evidence.
    """
    if counted < policy.slice_queries:
        return f"not counted, since it has fewer than {policy.slice_queries}"
    if not name.startswith("category="):
        return None
    if queries is None or not policy.metric.startswith("R@"):
        return "noted only, since a category without an interval may lose by chance"
    new, old = queries
    low, high = gain_interval(new[new["category"] == name.removeprefix("category=")], old, policy=policy)
    if high < -policy.slice_tolerance:
        return None
    return f"noted only, since the 95 % interval of {low:+.1f} to {high:+.1f} reaches into what is allowed"


def _deciding(report: EvalReport, policy: PromotionPolicy) -> dict[str, Metric]:
    """Slice -> the figure that the policy decides by."""
    found = {m.slice: m for m in report.metrics if (m.index, m.name) == (policy.index, policy.metric)}
    if "all" not in found or policy.metric.endswith("rank"):
        known = sorted({m.name for m in report.metrics if m.index == policy.index and not m.name.endswith("rank")})
        raise ConfigError(
            f"policy.metric is {policy.metric!r}; expected a figure of the {policy.index} index of which more is "
            f"better: {', '.join(known) or 'none was measured'}"
        )
    return found


def _title(policy: PromotionPolicy) -> str:
    return f"{policy.metric} of the {policy.index} index"


def gain_interval(
    challenger: pd.DataFrame, champion: pd.DataFrame, *, policy: PromotionPolicy, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the gain in points, from the same queries answered by both (paired bootstrap).

    Args:
        challenger: The evaluator's rows of the new model.
        champion: The same of the other one.
        policy: Names the index and the recall.
        seed: Of the bootstrap.
    """
    k = int(policy.metric.removeprefix("R@"))
    hits = [
        (q[q["index"] == policy.index].set_index("pair_id")["rank"] <= k).astype(float) for q in (challenger, champion)
    ]
    entities = challenger[challenger["index"] == policy.index].set_index("pair_id")["entity_id"]
    gain = 100 * (hits[0] - hits[1].reindex(hits[0].index))
    (figure,) = metrics.mean_figures({"gain": gain.to_numpy()}, entities.to_numpy(), seed=seed)
    return figure.low, figure.high
