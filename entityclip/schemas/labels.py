"""What is printed on a picture, as a reader sees it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from entityclip.schemas.base import Record

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as shares of the upright picture's width and height: 0 to 1."""

Read = bool | Literal["auto"]
"""Whether labels are read: True refuses a query where no reader is installed, "auto" answers it without."""

Outcome = Literal["read", "partly", "late", "failed", "no reader"]


class Label(Record):
    """One line of text on a picture."""

    text: str
    confidence: float = Field(ge=0, le=1, description="Mean probability of the line's characters.")
    box: Box = Field(description="Left, top, right, bottom, as shares of the upright picture's width and height.")
    picture: int = Field(default=0, ge=0, description="Number of the picture, where several show one thing.")


class LabelCounts(Record):
    """How many pictures of a data version were read."""

    pictures: int = Field(description="With a row in the table of labels.")
    with_text: int = Field(description="Of them, with text that is kept.")
    read_now: int = Field(description="Of them, read in this run; the others were known.")

    def sentence(self) -> str:
        """The same in words."""
        return f"{self.with_text:,} of {self.pictures:,} pictures have text; {self.read_now:,} were read now"


class Reading(Record):
    """The text on a picture, or on several pictures of one thing."""

    outcome: Outcome = Field(
        description="Read in full; in part, because the time was up; not in time; failed, see the service's log; or no "
        "reader is installed."
    )
    labels: tuple[Label, ...] = Field(default=(), description="The lines in reading order.")
    seconds: float = Field(default=0.0, ge=0, description="Time that reading took, or that the answer waited for it.")
