"""Records of promotion: the policy with its thresholds, the gain, the decision."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from entityclip.schemas.base import IndexKind, Record


class PromotionPolicy(Record):
    """When a challenger replaces the champion; part of the workspace's ``entityclip.yaml``."""

    index: IndexKind = Field(default="mixed", description="Index whose recall decides.")
    metric: str = Field(default="R@1", description="Metric that decides: R@1, R@5 or R@10.")
    min_gain: float = Field(default=0.0, description="Points that the challenger must gain over all queries.")
    max_slice_drop: float = Field(
        default=5.0,
        ge=0,
        description="Points that any slice may lose against each of the last champions. Where a slice is so large "
        "that the interval of its change is no wider than this, the whole interval must lie within; a small category "
        "refuses the challenger only if its whole interval lies beyond.",
    )
    min_slice_queries: int = Field(
        default=30, ge=1, description="A slice with fewer queries is noted but does not refuse the challenger."
    )
    min_first_score: float = Field(default=0.0, ge=0, description="Points that a first champion must reach.")
    require_above_chance: bool = Field(
        default=True,
        description="Whether the lower end of a first champion's 95 % interval must be above chance.",
    )
    require_significant: bool = Field(
        default=True,
        description="Whether the whole 95 % interval of the gain, over the same queries and with the deviation between "
        "seeds, must lie above min_gain.",
    )
    seed_deviation: float = Field(
        default=1.5,
        ge=0,
        description="Standard deviation of the deciding metric, in points, between trainings that differ only in their "
        "seed; `entityclip seeds` measures it.",
    )
    compared_champions: int = Field(
        default=3, ge=1, description="Slices are compared with those of so many last champions, the current one first."
    )
    max_false_accept_rate: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of pictures of unknown things that may get a sure tag at target precision 0.9.",
    )
    latency_ms: float | None = Field(
        default=None, gt=0, description="95 of 100 pictures, tagged one after the other, must take at most this long."
    )
    size_mb: float | None = Field(
        default=None, gt=0, description="Maximum size of the packaged model with its indexes."
    )
    approval_hours: float | None = Field(
        default=None,
        gt=0,
        description="Approval timeout in hours; on expiry the champion stays. null: no approval is needed.",
    )

    @property
    def direction(self) -> Literal["image_to_text", "text_to_image"]:
        """Who queries whom in the deciding metric: a recall is that of pictures that look for their entity."""
        return "image_to_text" if self.metric.startswith("R@") else "text_to_image"

    @model_validator(mode="after")
    def _gain_with_an_interval(self) -> PromotionPolicy:
        if self.require_significant and not self.metric.startswith("R@"):
            raise ValueError(
                f"metric is {self.metric!r}, and only a recall (R@1, R@5, R@10) has an interval of its gain; expected "
                "one of them, or require_significant: false"
            )
        return self


class Gain(Record):
    """Gain of the challenger over the champion on the same queries, in points of the deciding metric."""

    points: float
    low: float = Field(
        description="Lower end of the interval, by paired bootstrap over entities and the deviation between seeds: "
        "95 % at the first look, at look n so wide that it misses in 5 / n of 100 cases."
    )
    high: float
    queries: int
    looks: int = Field(default=1, description="Challengers compared with this champion so far, this one included.")


class SetLooks(Record):
    """How often pictures that no model is trained on were used up to a decision. Each use makes them less new."""

    deciding: int = Field(description="Models that test pictures decided about, this one included.")
    sealed: int | None = Field(
        default=None,
        description="Promoted models before this one for which the sealed split was opened; None: there is none.",
    )
    no_sealed: str = Field(default="", description="Why there is no sealed split.")

    @property
    def summary(self) -> str:
        """One line for people."""
        opened = (
            f"no sealed split: {self.no_sealed}"
            if self.sealed is None
            else f"looks at the sealed split before: {self.sealed:,}"
        )
        return f"models that the test pictures decided about, this one included: {self.deciding:,}; {opened}"


class PromotionDecision(Record):
    """Whether a challenger replaces the champion, and why; kept permanently in ``reports/``."""

    promoted: bool
    reasons: tuple[str, ...]
    challenger: str = Field(description="Fingerprint of the challenger's model.")
    champion: str | None = Field(description="Version of the champion it was compared with, or None.")
    data_hash: str
    suite_hash: str
    evaluation_hash: str
    policy: PromotionPolicy
    gain: Gain | None = Field(default=None, description="None without a champion, or if no queries can be paired.")
    looks: SetLooks | None = Field(default=None, description="None in decisions of earlier versions.")
