"""What a model is built from and trained for: settings alone, so that reading them loads no torch."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Self

from pydantic import Field, model_validator

from entityclip.architectures import Architecture, portable, settings
from entityclip.schemas import Record


class ExpertConfig(Record):
    """How many experts of each group; the published setting is 4-4-4. A group may be empty, a side may not."""

    image: int = Field(default=4, ge=0, description="Experts on the picture itself.")
    shared: int = Field(default=4, ge=0, description="Experts on the explanation, for the picture and the caption.")
    text: int = Field(default=4, ge=0, description="Experts on the caption itself.")

    @model_validator(mode="after")
    def _something_to_gate(self) -> Self:
        if self.shared == 0 and 0 in (self.image, self.text):
            raise ValueError(
                f"experts image={self.image}, shared=0, text={self.text}: without shared experts both picture and "
                "caption need experts of their own; give image and text at least 1, or shared"
            )
        return self


class TowerConfig(Record):
    """Which towers, and where their first weights come from."""

    architecture: Architecture = Field(
        default="entityclip-small",
        description="An open_clip architecture, one of entityclip/architectures, a JSON file in open_clip's form, a "
        "folder with open_clip_config.json, or such settings themselves.",
    )
    pretrained: str | None = Field(
        default=None,
        min_length=1,
        description="Of both towers together: open_clip tag, or a local file or folder; None starts from scratch.",
    )
    image_weights: str | None = Field(
        default=None,
        min_length=1,
        description="Of the image tower alone: name of a backbone, or a local file or folder (timm, open_clip).",
    )
    text_weights: str | None = Field(
        default=None,
        min_length=1,
        description="Of the text tower alone: name of a backbone, or a local folder (Hugging Face, open_clip).",
    )
    text_folder: str | None = Field(
        default=None,
        description="Hugging Face text towers: local folder with config.json; None: from the cache or the hub.",
    )
    text_cfg: dict[str, Any] = Field(
        default={},
        description="Settings that replace those of the architecture's text_cfg. Training sets vocabulary and context "
        "where the tokenizer is learned from the data.",
    )
    mean_pool: bool = Field(
        default=False, description="ResNet towers: a fresh mean pooling for attention pooling; any picture size."
    )

    @model_validator(mode="after")
    def _one_source_for_a_tower(self) -> Self:
        if self.pretrained is not None and (self.image_weights or self.text_weights):
            raise ValueError("pretrained fills both towers; give either it, or image_weights and text_weights")
        return self

    @property
    def first_weights(self) -> dict[str, str]:
        """Setting -> the weights that it names; empty from scratch."""
        named = {name: getattr(self, name) for name in ("pretrained", "image_weights", "text_weights")}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def text_from_scratch(self) -> bool:
        """Whether open_clip's own text tower is trained from random weights: any vocabulary suits it."""
        return not (
            self.pretrained or self.text_weights or settings(self.architecture)["text_cfg"].get("hf_model_name")
        )

    def portable(self) -> TowerConfig:
        """The same without a folder of this machine; of a file of weights, the name stays."""
        names = {setting: PurePath(value).name for setting, value in self.first_weights.items()}
        return self.model_copy(update={"architecture": portable(self.architecture), "text_folder": None} | names)

    def without_weights(self) -> TowerConfig:
        """The same, from scratch: the shapes are those of the towers with weights."""
        return self.model_copy(update=dict.fromkeys(("pretrained", "image_weights", "text_weights")))


class ModelConfig(Record):
    """What the model is built from."""

    towers: TowerConfig = TowerConfig()
    experts: ExpertConfig = ExpertConfig()


class LossConfig(Record):
    """Weights of the loss ``VTC(v, t) + explanation * VTC(v, e) + beta * VTC(v*, t*) + eta * GI-ITM``."""

    explanation: float = Field(default=1.0, ge=0, description="Image-explanation term, names masked; 0 is published.")
    beta: float = Field(default=0.1, ge=0, description="Contrastive term of the gated experts.")
    eta: float = Field(default=0.1, ge=0, description="Gated matching term.")
    smoothing: float = Field(default=0.0, ge=0, lt=1, description="Label smoothing of the contrastive terms.")
