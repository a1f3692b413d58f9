"""The base class of all records, and the types that several of them use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from entityclip.storage import atomic_write

Split = Literal["train", "val", "test", "sealed"]
"""``val`` calibrates, ``test`` decides promotions, ``sealed`` is opened once for each promoted release."""
OpenSplit = Literal["train", "val", "test"]
"""Splits that a person may evaluate on as often as needed."""
IndexKind = Literal["caption", "explanation", "images", "mixed"]
Candidates = Literal["all", "split"]
Runtime = Literal["torch", "onnx", "onnx-int8", "distilled"]
"""Runtime of the encoders: PyTorch, or ONNX Runtime in fp32, in int8, or with a student's image encoder."""
ExportedRuntime = Literal["onnx", "onnx-int8", "distilled"]
"""Those that encoders are exported for."""
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
Paragraph = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
SLICES = ("frequent", "few", "one", "none")
"""Slices of entities by how many training pictures they have: 10 and more, 2 to 9, 1, 0."""


class Record(BaseModel):
    """A frozen value; unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def write(self, path: Path, *, mode: int | None = None) -> None:
        """Write the record as JSON to ``path``, atomically; ``mode`` as in ``atomic_write``."""
        atomic_write(path, self.model_dump_json(indent=1) + "\n", mode=mode)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The record at ``path``; None where there is none, or one of another version of this project."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValidationError):
            return None
