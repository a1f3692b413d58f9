"""Settings of compression: the runtimes that a release is exported for, and what each may lose; they load no torch."""

from __future__ import annotations

from pydantic import Field, field_validator

from entityclip.schemas import ExportedRuntime, Record
from entityclip.training.distillation_config import Distillation

EXPORTED: tuple[ExportedRuntime, ...] = ("onnx", "onnx-int8")
"""Runtimes that need no training."""


class CompressionPolicy(Record):
    """For which runtimes a release is exported, and what each may lose; part of ``entityclip.yaml``."""

    runtimes: tuple[ExportedRuntime, ...] = Field(
        default=(),
        description="Runtimes that packages hold exported encoders for, beside PyTorch: onnx, onnx-int8, distilled (a "
        "smaller image encoder that learned from the release's); needs the extra onnx. Each is measured while a "
        "release is packaged, and only those within the budget ship.",
    )
    budget: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="Points of R@1 that a runtime may lose against PyTorch: the lower end of the 95 % interval of its "
        "change must not lie below the negative of this, over all queries, in every slice by training pictures and in "
        "every language; a category refuses only if its whole interval lies below.",
    )
    distillation: Distillation | None = Field(
        default=None,
        description="How 'distilled' learns, such as {size: 112, minutes: 10}; null: five minutes with half of the "
        "pixels a side.",
    )

    @field_validator("runtimes")
    @classmethod
    def _once_each(cls, runtimes: tuple[ExportedRuntime, ...]) -> tuple[ExportedRuntime, ...]:
        return tuple(dict.fromkeys(runtimes))
