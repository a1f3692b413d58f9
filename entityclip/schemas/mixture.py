"""How the mixed index weighs what is known of an entity."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from entityclip.schemas.base import Record

MixtureGroup = Literal["frequent", "few", "one", "none", "untrained", "unexplained"]
"""The slices of ``SLICES``; of entities without training pictures those that the index has pictures of are
``untrained``, or ``unexplained`` where they have no explanation either.
"""


class Mixture(Record):
    """Weights of an entity's vectors in the mixed index, for one group of entities.

    A picture's similarity with the entity is ``scale`` times the weighted mean of its similarities with caption,
    explanation and images, plus ``offset``. The weights add up to 1.
    """

    caption: float = Field(ge=0, le=1)
    explanation: float = Field(ge=0, le=1)
    images: float = Field(ge=0, le=1)
    scale: float = Field(default=1.0, gt=0, le=100)
    offset: float = Field(default=0.0, ge=-10, le=10, description="Is added to the similarity with a picture.")

    @model_validator(mode="after")
    def _weights_add_up(self) -> Self:
        if abs((total := self.caption + self.explanation + self.images) - 1) > 1e-3:
            raise ValueError(f"caption, explanation and images add up to {total:g}; expected 1")
        return self
