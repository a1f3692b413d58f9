"""What bulk annotation says about one file."""

from __future__ import annotations

from pydantic import Field

from entityclip.schemas.answers import Tag
from entityclip.schemas.base import Record


class Annotation(Record):
    """Tags of one picture, or the reason why there are none."""

    file: str = Field(description="As the folder or the table names it, with slashes.")
    width: int = Field(default=0, description="In pixels, upright; 0 where the file is no picture.")
    height: int = 0
    release: str = Field(description="Version of the release, or fingerprint of the model, that tagged it.")
    tags: tuple[Tag, ...] = Field(default=(), description="Best first.")
    explanation: str = Field(default="", description="Visible features of the first tag's entity, where it has any.")
    problem: str = Field(default="", description="Why the file has no tags; '' if it has.")

    @property
    def sure(self) -> Tag | None:
        """The best tag that reaches the target precision; None if none does."""
        return next((tag for tag in self.tags if tag.above_threshold), None)

    @property
    def unknown(self) -> bool:
        """Whether the picture may show nothing that is in the catalogue."""
        return not self.problem and self.sure is None
