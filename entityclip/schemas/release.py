"""Who challenged whom, who decided, and what became of it."""

from __future__ import annotations

import datetime

from pydantic import Field

from entityclip.schemas.base import IndexKind, Record


class PromotionPolicy(Record):
    """When a challenger replaces the champion. Stands in the workspace's ``entityclip.yaml``."""

    index: IndexKind = Field(default="mixed", description="The index whose recall decides.")
    metric: str = Field(default="R@1", description="Which figure decides: R@1, R@5 or R@10.")
    min_gain: float = Field(default=0.0, description="Points that the challenger must win over all queries.")
    max_slice_drop: float = Field(
        default=5.0,
        ge=0,
        description="Points that any one slice may lose. Slices by training pictures and by language refuse by the "
        "figure itself; a category only when the 95 % interval of its loss lies wholly beyond, else it is noted.",
    )
    min_slice_queries: int = Field(
        default=30, ge=1, description="A slice with fewer queries is noted but refuses nobody."
    )
    min_first_score: float = Field(default=0.0, ge=0, description="A first champion must reach this many points.")
    require_above_chance: bool = Field(
        default=True,
        description="Whether the lower end of a first champion's 95 % interval must be above what guessing gives.",
    )
    require_significant: bool = Field(
        default=False,
        description="Whether the whole 95 % interval of the gain, over the same queries, must reach min_gain.",
    )
    latency_ms: float | None = Field(
        default=None, gt=0, description="Of 100 pictures, 95 must be tagged within this, one after the other."
    )
    size_mb: float | None = Field(default=None, gt=0, description="What the packaged model with its indexes may weigh.")
    approval_hours: float | None = Field(
        default=None,
        gt=0,
        description="A person has so long to say yes; silence keeps the champion. null: no question.",
    )


class Gain(Record):
    """What the challenger wins over the champion on the very same queries, in points of the deciding figure."""

    points: float
    low: float = Field(description="Of the 95 % interval, by paired bootstrap over entities.")
    high: float
    queries: int


class PromotionDecision(Record):
    """Kept for ever in ``reports/``: who challenged whom, who won, and why. Promoting, it blesses for quality."""

    promoted: bool
    reasons: tuple[str, ...]
    challenger: str = Field(description="Fingerprint of the challenger's model.")
    champion: str | None = Field(description="Version of the champion that was challenged, or None.")
    data_hash: str
    suite_hash: str
    evaluation_hash: str
    policy: PromotionPolicy
    gain: Gain | None = Field(default=None, description="None without a champion, or where nothing can be paired.")


class ServingCheck(Record):
    """Kept for ever in ``reports/``: whether a promoted release can be served, as its smoke test saw it."""

    certified: bool
    reasons: tuple[str, ...]
    version: str
    model_fingerprint: str
    largest_difference: float | None = Field(description="|service score - evaluator score|; None: it did not answer.")
    latency_ms: float | None = Field(description="Of 100 pictures, 95 were tagged within this.")
    size_mb: float | None = Field(description="The packaged model with its indexes; None: it could not be packaged.")
    policy: PromotionPolicy


class Approval(Record):
    """A question to a person about a certified release, and the answer; kept for ever in ``reports/``."""

    version: str
    requested: datetime.datetime
    until: datetime.datetime = Field(description="Without an answer by then, the champion stays.")
    approved: bool | None = Field(default=None, description="None: nobody has answered yet.")
    name: str = Field(default="", description="Who answered.")
    comment: str = ""


class Release(Record):
    """A promoted release: one Git commit that holds data, rules, model and reports."""

    version: str = Field(description="GTO version, like v1.0.0.")
    commit: str
    model_fingerprint: str
    data_hash: str


class PackageCard(Record):
    """The release that a package was made from; the service tells it to whoever asks."""

    release: Release
    suite_hash: str = Field(description="The rules that the release's data passed.")
    licences: tuple[str, ...] = Field(description="Licences of the pictures and texts that the model learned from.")


class BentoRecord(Record):
    """A Bento that was built from a release, and what its smoke test saw."""

    tag: str
    release: str
    store: str = Field(description="BENTOML_HOME that holds it.")
    content: str = Field(default="", description="Hash of all that is in it: the same release gives the same.")
    example_text: str = Field(default="", description="A text to try the service with: the name of an entity.")
    example_picture: str = Field(default="", description="A picture of that entity, as a file.")
    largest_difference: float | None = Field(default=None, description="|service score - evaluator score|, worst.")
