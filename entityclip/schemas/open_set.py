"""When a tag is accepted although the picture may show none of the entities."""

from __future__ import annotations

from pydantic import Field

from entityclip.schemas.base import Record
from entityclip.schemas.mixture import MixtureGroup


class OpenSetTarget(Record):
    """What tags were held to on validation pictures, and the least score that holds it."""

    precision: float = Field(gt=0, lt=1, description="Target share of right tags among the accepted ones.")
    false_accept_rate: float = Field(
        gt=0, lt=1, description="Target share of accepted pictures among those whose entity is not in the catalogue."
    )
    thresholds: dict[MixtureGroup, float] = Field(
        description="Group of the tagged entity -> least score; tags of other groups are not accepted."
    )
    pooled: tuple[MixtureGroup, ...] = Field(
        default=(), description="Groups with too few pictures of their own: their threshold is that of all together."
    )


class OpenSetRule(Record):
    """Logistic regression on four features of a tag, and the least score for each target.

    The score is the logistic function of ``intercept`` plus the weighted features: 0 to 1.
    """

    cosine: float = Field(default=0.0, description="Weight of the similarity of picture and entity in the mixed index.")
    margin: float = Field(default=0.0, description="Weight of its distance to the best other entity's.")
    photographs: float = Field(
        default=0.0, description="Weight of the similarity with the mean of the entity's photographs."
    )
    without_photographs: float = Field(default=0.0, description="Is added for an entity that has no photographs.")
    intercept: float = 0.0
    targets: tuple[OpenSetTarget, ...] = ()

    def target(self, precision: float) -> OpenSetTarget | None:
        """The target with this precision; None where the validation pictures could not prove it."""
        return next((target for target in self.targets if target.precision == precision), None)
