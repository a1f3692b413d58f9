"""What bulk annotation says about one file."""

from __future__ import annotations

from pydantic import Field

from entityclip.schemas.answers import Tag
from entityclip.schemas.base import Record
from entityclip.schemas.labels import Label, Outcome


class Region(Record):
    """An entity and where in the picture it is, coarsely: in pixels of the upright picture."""

    entity_id: str
    entity: str
    confidence: float = Field(description="Of the window that shows it, 0 to 1.")
    left: int
    top: int
    width: int
    height: int


class Annotation(Record):
    """Tags of one picture, or the reason why there are none."""

    file: str = Field(description="As the folder or the table names it, with slashes.")
    width: int = Field(default=0, description="In pixels, upright; 0 where the file is no picture.")
    height: int = 0
    release: str = Field(description="Version of the release, or fingerprint of the model, that tagged it.")
    tags: tuple[Tag, ...] = Field(default=(), description="Best first.")
    regions: tuple[Region, ...] | None = Field(
        default=None, description="Entities with their places, none of which overlap; None where they were not wanted."
    )
    labels: tuple[Label, ...] = Field(
        default=(), description="Lines of text on the picture in reading order, without those that hold personal data."
    )
    reading: Outcome | None = Field(default=None, description="How far labels were read; None where they were not.")
    explanation: str = Field(default="", description="Visible features of the first tag's entity, where it has any.")
    problem: str = Field(default="", description="Why the file has no tags; '' if it has.")

    @property
    def sure(self) -> Tag | None:
        """The best tag that reaches the target precision; None if none does."""
        return next((tag for tag in self.tags if tag.above_threshold), None)

    @property
    def found(self) -> tuple[Region, ...]:
        """The regions; where none were wanted, the whole picture with its sure tag."""
        if self.regions is not None or self.sure is None:
            return self.regions or ()
        tag = self.sure
        place = {"left": 0, "top": 0, "width": self.width, "height": self.height}
        return (Region(entity_id=tag.entity_id, entity=tag.entity, confidence=tag.confidence, **place),)

    @property
    def unknown(self) -> bool:
        """Whether the picture may show nothing that is in the catalogue."""
        return not self.problem and not self.found
