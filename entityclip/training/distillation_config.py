"""Settings of a distillation; reading them loads no torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from entityclip.architectures import Architecture, portable
from entityclip.data.preprocessing import Preprocessing
from entityclip.schemas import Record


class Distillation(Record):
    """A smaller image tower that learns to see as a trained one does; texts, tokenizer and joint space stay."""

    architecture: Architecture | None = Field(
        default=None, description="Whose image tower the student has; null: the teacher's, for smaller pictures."
    )
    image_weights: str | None = Field(
        default=None,
        min_length=1,
        description="First weights of another architecture's image tower: name of a backbone, or a file or folder; "
        "null: at random. The teacher's own architecture starts from the teacher's weights.",
    )
    accept_licences: tuple[str, ...] = Field(
        default=(), description="Licences with restrictions that you accept for 'image_weights', by name."
    )
    size: int | None = Field(
        default=None, ge=8, description="Side of the student's pictures, pixels; null: half of the teacher's."
    )
    minutes: float = Field(
        default=5.0,
        gt=0,
        description="For learning, after the teacher has seen every view; no part of the training's own 'minutes'.",
    )
    steps: int | None = Field(
        default=None, ge=1, description="So many steps in place of 'minutes': a second run gives the same weights."
    )
    pictures: int = Field(default=8000, ge=1, description="Training pictures that are looked at, at most.")
    views: int = Field(default=6, ge=1, description="Variations of each picture, the same for both.")
    batch: int = Field(default=64, ge=2, description="Pictures in a step.")
    learning_rate: float = Field(default=2e-3, gt=0, description="Highest learning rate (AdamW).")
    relation: float = Field(
        default=0.1, ge=0, description="Weight of the term on similarities to other pictures, beside the cosine's 1."
    )

    def size_of(self, teacher: Preprocessing) -> int:
        """Side of the student's pictures, pixels."""
        return self.size or teacher.size // 2

    def portable(self) -> Distillation:
        """The same without a path of this machine."""
        architecture, weights = self.architecture, self.image_weights
        return self.model_copy(
            update={
                "architecture": None if architecture is None else portable(architecture),
                "image_weights": None if weights is None else Path(weights).name,
            }
        )
