"""The search space, and how a proposal changes the training settings and the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from entityclip.data import pairs
from entityclip.data.variants import with_explanations
from entityclip.model.config import ExpertConfig
from entityclip.paths import DataLayout
from entityclip.quality import score_explanations
from entityclip.quality.quality_score import quality_score
from entityclip.schemas import Record
from entityclip.training import TrainConfig

if TYPE_CHECKING:
    from optuna import Trial

MOST_EXPERTS = 4
WEIGHTS = {"beta": (0.01, 1.0), "eta": (0.01, 1.0), "explanation": (0.25, 4.0)}
"""Loss weight -> smallest and largest value, sampled log-uniformly."""

QUALITIES = (0.0, 0.25, 0.5, 0.75)
"""Minimum qualities of explanations to try; 0 keeps all."""


class Proposal(Record):
    """One point of the search."""

    image_experts: int = Field(ge=0)
    shared_experts: int = Field(ge=0)
    text_experts: int = Field(ge=0)
    beta: float = Field(ge=0)
    eta: float = Field(ge=0)
    explanation: float = Field(ge=0)
    min_quality: float = Field(ge=0, le=1, description="Explanations of lower quality are left out.")

    @classmethod
    def of(cls, config: TrainConfig) -> Proposal:
        """The start of the search: the current settings, on all explanations."""
        experts, loss = config.model.experts, config.loss
        return cls(
            image_experts=experts.image,
            shared_experts=experts.shared,
            text_experts=experts.text,
            beta=loss.beta,
            eta=loss.eta,
            explanation=loss.explanation,
            min_quality=0.0,
        )

    @classmethod
    def drawn(cls, trial: Trial) -> Proposal:
        """A proposal sampled by Optuna."""
        experts = {
            f"{kind}_experts": trial.suggest_int(f"{kind}_experts", 1, MOST_EXPERTS)
            for kind in ("image", "shared", "text")
        }
        weights = {name: trial.suggest_float(name, *between, log=True) for name, between in WEIGHTS.items()}
        return cls(**experts, **weights, min_quality=trial.suggest_categorical("min_quality", QUALITIES))

    def within_the_space(self) -> dict[str, float]:
        """The nearest point in the search space."""
        near = {
            name: min(max(value, 1), MOST_EXPERTS) for name, value in self.model_dump().items() if "experts" in name
        }
        near |= {name: min(max(getattr(self, name), least), most) for name, (least, most) in WEIGHTS.items()}
        return near | {"min_quality": self.min_quality}

    def applied(self, config: TrainConfig, *, epochs: int) -> TrainConfig:
        """``config`` with this proposal's values, trained for ``epochs``."""
        counts = {"image": self.image_experts, "shared": self.shared_experts, "text": self.text_experts}
        experts = ExpertConfig.model_validate(counts)
        weights = {"beta": self.beta, "eta": self.eta, "explanation": self.explanation}
        return config.model_copy(
            update={
                "model": config.model.model_copy(update={"experts": experts}),
                "loss": config.loss.model_copy(update=weights),
                "epochs": epochs,
            }
        )


def without_poor_explanations(data: DataLayout, to: DataLayout, *, min_quality: float) -> int:
    """Make ``to`` the data without explanations of a quality below ``min_quality``; pictures and entities are links.

    Nothing is written if it exists already.

    Returns:
        How many explanations were left out.

    Raises:
        DataError: The data are incomplete.
    """
    pairs.require_complete(data)
    texts = pairs.read_frame(data.explanations)
    good = quality_score(score_explanations(texts, pairs.read_frame(data.entities))) >= min_quality
    if not to.marker.is_file():
        with_explanations(data, texts[good], into=to)
    return int((~good).sum())
