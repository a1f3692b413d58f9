"""What is known about a backbone."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from entityclip.schemas import Record

Kind = Literal["clip", "image", "text"]
Colours = tuple[float, float, float]


class Backbone(Record):
    """One pretrained image tower, text tower, or both."""

    name: str
    kind: Kind = Field(description="clip: both towers in one space; else one of them.")
    architecture: str = Field(
        default="",
        description="open_clip's name of both towers; of an image tower, timm's name. Empty: the files say it.",
    )
    licence: str = Field(description="SPDX identifier, or the name that the publisher gives it.")
    terms: str = Field(
        default="", description="What the licence restricts; such a backbone is used only where the settings accept it."
    )
    languages: tuple[str, ...] = Field(
        default=(), description="Languages of its texts; mul: about a hundred. Empty for an image tower."
    )
    parameters: float = Field(gt=0, description="Millions of weights.")
    size: int | None = Field(default=None, description="Side of its pictures, pixels.")
    mean: Colours | None = None
    std: Colours | None = None
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize: Literal["shortest", "squash"] = "shortest"
    package: str = Field(default="", description="Python package that carries the weights.")
    repository: str = Field(default="", description="Repository on the Hugging Face hub.")
    tag: str = Field(default="", description="Tag of the weights in open_clip.")
    file: str = Field(default="", description="File of weights in the package or repository.")
    text_repository: str = Field(
        default="",
        description="Repository with config.json and tokenizer of its text tower, if another one.",
    )
    sha256: str | None = Field(default=None, description="Of the file, where it was computed.")
    good_for: str

    @property
    def megabytes(self) -> float:
        """Size of the weights in float32."""
        return round(4 * self.parameters, 1)

    def reads(self, languages: tuple[str, ...]) -> bool:
        """Whether its text tower reads all of these languages."""
        return self.kind != "image" and ("mul" in self.languages or {*languages} <= {*self.languages})
