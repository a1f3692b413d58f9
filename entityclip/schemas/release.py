"""Records of promotion and release: policy, decision, serving check, approval, release, package."""

from __future__ import annotations

import datetime

from pydantic import Field

from entityclip.schemas.base import IndexKind, Record


class PromotionPolicy(Record):
    """When a challenger replaces the champion; part of the workspace's ``entityclip.yaml``."""

    index: IndexKind = Field(default="mixed", description="Index whose recall decides.")
    metric: str = Field(default="R@1", description="Metric that decides: R@1, R@5 or R@10.")
    min_gain: float = Field(default=0.0, description="Points that the challenger must gain over all queries.")
    max_slice_drop: float = Field(
        default=5.0,
        ge=0,
        description="Points that any slice may lose. A larger loss of a slice by training pictures or by language "
        "refuses the challenger; a category refuses it only if the whole 95 % interval of its loss is beyond, "
        "else it is noted.",
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
        default=False,
        description="Whether the whole 95 % interval of the gain, over the same queries, must reach min_gain.",
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


class Gain(Record):
    """Gain of the challenger over the champion on the same queries, in points of the deciding metric."""

    points: float
    low: float = Field(description="Lower end of the 95 % interval, by paired bootstrap over entities.")
    high: float
    queries: int


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


class ServingCheck(Record):
    """Whether a promoted release can be served: smoke test and budgets; kept permanently in ``reports/``."""

    certified: bool
    reasons: tuple[str, ...]
    version: str
    model_fingerprint: str
    largest_difference: float | None = Field(
        description="|service score - evaluator score|; None: the service did not answer."
    )
    latency_ms: float | None = Field(description="95 of 100 pictures were tagged within this time.")
    size_mb: float | None = Field(
        description="Size of the packaged model with its indexes; None: it could not be packaged."
    )
    policy: PromotionPolicy


class Approval(Record):
    """A request to approve a certified release, and its answer; kept permanently in ``reports/``."""

    version: str
    requested: datetime.datetime
    until: datetime.datetime = Field(description="Without an answer by then, the champion stays.")
    approved: bool | None = Field(default=None, description="None: no answer yet.")
    name: str = Field(default="", description="Name of the person who answered.")
    comment: str = ""


class Release(Record):
    """A promoted release: one Git commit that holds data, rules, model and reports."""

    version: str = Field(description="GTO version, like v1.0.0.")
    commit: str
    model_fingerprint: str
    data_hash: str


class PackageCard(Record):
    """The release that a package was built from; the service shows it."""

    release: Release
    suite_hash: str = Field(description="Hash of the rules that the release's data passed.")
    licences: tuple[str, ...] = Field(description="Licences of the pictures and texts that the model was trained on.")


class BentoRecord(Record):
    """A Bento that was built from a release, and the result of its smoke test."""

    tag: str
    release: str
    store: str = Field(description="BENTOML_HOME that holds it.")
    content: str = Field(default="", description="Hash of its contents: the same release gives the same hash.")
    example_text: str = Field(default="", description="A text to try the service with: the name of an entity.")
    example_picture: str = Field(default="", description="A picture of that entity, as a file.")
    largest_difference: float | None = Field(default=None, description="|service score - evaluator score|, worst.")
