"""Metrics of a model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from entityclip.schemas.base import Candidates, Record, Split
from entityclip.schemas.improvements import Improvements


class Metric(Record):
    """One figure with its 95 % bootstrap interval, in the metric's own unit (recall in percent)."""

    index: str = Field(description="caption, explanation, images, mixed; or 'pairs' for picture-to-caption retrieval.")
    direction: Literal["image_to_text", "text_to_image"]
    slice: str = Field(description="'all', or one of SLICES, 'category=...', 'language=...'.")
    name: str = Field(
        description="R@1, R@5, R@10, R@50, R@100, median_rank, mean_rank, mAP, P@10. Of the open set, in percent: "
        "auroc, fpr95; and at each target, as 0.9: false_accept_at_0.9, coverage_at_0.9, precision_at_0.9, "
        "precision_with_unknown_at_0.9."
    )
    value: float
    low: float
    high: float
    queries: int


class Probe(Record):
    """The evaluator's scores of one picture; the smoke test compares the service with them."""

    pair_id: str
    entity: str
    scores: dict[str, float] = Field(description="Entity name -> cosine similarity, for the best five.")


class EvalReport(Record):
    """Metrics of one model on one frozen evaluation set."""

    model_fingerprint: str
    evaluation_hash: str = Field(
        description="Hash of the pair ids with their entities, and the candidates with slices."
    )
    split: Split
    pictures: int
    entities: int = Field(description="Number of candidates for a picture.")
    candidates: Candidates = Field(
        default="all", description="Whether all entities are candidates, or only those that the split's pictures show."
    )
    metrics: tuple[Metric, ...]
    open_set: tuple[Metric, ...] = Field(
        default=(),
        description="How first tags tell known pictures from the same pictures with their own entity left out; slices "
        "are those of the tagged entity.",
    )
    near_duplicates: int | None = Field(
        default=None,
        description="Queries that belong together with a training picture, as its near duplicates or by a split_group; "
        "None: the data version does not tell.",
    )
    without_near_duplicates: tuple[Metric, ...] = Field(
        default=(), description="Picture-to-entity recall of all other queries; empty if there are none to leave out."
    )
    probes: tuple[Probe, ...] = ()
    improvements: Improvements | None = Field(default=None, description="Where they were wanted.")
    seconds: float

    def value(self, name: str, *, index: str, slice: str = "all", direction: str = "image_to_text") -> float | None:
        """The value of one metric, or None if it was not measured."""
        wanted = (index, direction, slice, name)
        return next((m.value for m in self.metrics if (m.index, m.direction, m.slice, m.name) == wanted), None)

    def open_set_value(self, name: str, *, slice: str = "all") -> float | None:
        """The value of one figure of the open set, or None if it was not measured."""
        return next((m.value for m in self.open_set if (m.slice, m.name) == (slice, name)), None)
