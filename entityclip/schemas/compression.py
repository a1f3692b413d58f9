"""Records of compression: which runtimes a release is exported for, and whether each of them ships."""

from __future__ import annotations

from pydantic import Field, field_validator

from entityclip.schemas.base import ExportedRuntime, Record


class CompressionPolicy(Record):
    """For which runtimes a release is exported, and what each may lose; part of ``entityclip.yaml``."""

    runtimes: tuple[ExportedRuntime, ...] = Field(
        default=(),
        description="Runtimes that packages hold exported encoders for, beside PyTorch: onnx, onnx-int8; needs the "
        "extra onnx. Each is measured while a release is packaged, and only those within the budget ship.",
    )
    budget: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="Points of R@1 that a runtime may lose against PyTorch: the lower end of the 95 % interval of its "
        "change must not lie below the negative of this, over all queries, in every slice by training pictures and in "
        "every language; a category refuses only if its whole interval lies below.",
    )

    @field_validator("runtimes")
    @classmethod
    def _once_each(cls, runtimes: tuple[ExportedRuntime, ...]) -> tuple[ExportedRuntime, ...]:
        return tuple(dict.fromkeys(runtimes))


class RuntimeChange(Record):
    """Change of R@1 from PyTorch to another runtime on the same queries, in points."""

    slice: str
    points: float
    low: float = Field(description="Lower end of the 95 % interval.")
    high: float
    queries: int


class RuntimeDecision(Record):
    """Whether an exported runtime ships with the release, and why."""

    ships: bool
    reasons: tuple[str, ...]
    budget: float = Field(description="Points of R@1 that it was allowed to lose.")
    changes: tuple[RuntimeChange, ...] = Field(description="By slice; empty where it could not be measured.")
