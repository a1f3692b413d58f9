"""Promotion decisions as figures, so that the releases page can say them in the language of the visitor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from entityclip.errors import ConfigError
from entityclip.evaluation.promotion import deciding, suffices
from entityclip.paths import Layout, RunLayout
from entityclip.schemas import EvalReport, Metric, PromotionDecision, PromotionPolicy
from flows.workspace.registry import release_of


class ShownDecision(NamedTuple):
    """A decision with the figures that it rests on."""

    at: str
    """Time of its commit; '' before it is committed."""
    decision: PromotionDecision
    figure: Metric | None
    """The deciding metric of the challenger over all queries; None where its evaluation is no longer there."""
    version: str
    """The release that came of it and waits for an answer; '' for none."""
    reported: bool
    """The report of the run can be shown."""

    @property
    def first_place(self) -> bool:
        """The metric is the share of pictures whose right entity comes first."""
        policy = self.decision.policy
        return (policy.metric, policy.direction) == ("R@1", "image_to_text")

    @property
    def gain_reached(self) -> bool | None:
        """The gain over the champion is what the policy requires; None where no gain was measured."""
        gain, policy = self.decision.gain, self.decision.policy
        return None if gain is None else suffices(gain.points, gain, policy=policy)


def runs_by_model(layout: Layout) -> dict[str, RunLayout]:
    """Fingerprint of the model -> the run that trained it, for every run with a decision."""
    folders = sorted(layout.run("r").root.parent.glob("*/decision.json"))
    runs = [RunLayout(path.parent) for path in folders]
    decided = [(PromotionDecision.read(run.decision), run) for run in runs]
    return {decision.challenger: run for decision, run in decided if decision is not None}


class ShownDecisions:
    """Makes verdicts of decisions.

    Args:
        layout: The workspace.
        evaluations: Version -> evaluation of its model, where it was committed.
        waiting: Versions that wait for an answer.
    """

    def __init__(self, layout: Layout, evaluations: Mapping[str, EvalReport | None], *, waiting: Sequence[str]) -> None:
        models = {version: release_of(layout, version).model_fingerprint for version in evaluations}
        self._runs = runs_by_model(layout)
        self._evaluations = {models[version]: report for version, report in evaluations.items()}
        self._waiting = {models[version]: version for version in waiting}

    def of(self, decision: PromotionDecision, *, at: str = "") -> ShownDecision:
        """The verdict of a decision that was committed at this time."""
        model = decision.challenger
        run = self._runs.get(model)
        report = self._evaluations.get(model) or (EvalReport.read(run.evaluation) if run else None)
        reported = run is not None and run.report.is_file()
        figure = deciding_metrics(report, decision.policy).get("all")
        return ShownDecision(at, decision, figure, self._waiting.get(model, ""), reported)


def deciding_metrics(report: EvalReport | None, policy: PromotionPolicy) -> dict[str, Metric]:
    """Slice -> the metric that the policy names; empty where it was not measured."""
    try:
        return {} if report is None else deciding(report, policy)
    except ConfigError:
        return {}
