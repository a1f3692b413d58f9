"""One item of the queue, and which of the opinions about it decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import ValidationError

from entityclip.errors import ConfigError, faults
from entityclip.monitoring.feedback_pictures import DoubtfulClaim
from entityclip.quality.review import PendingText, Review
from entityclip.quality.review.opinions import Opinion


class ReviewItem(NamedTuple):
    """One item as the page shows it; exactly one of ``text`` and ``claim`` is set."""

    id: str
    text: PendingText | None
    claim: DoubtfulClaim | None
    opinions: tuple[Opinion, ...]
    """Given so far, where they disagree or are too few."""
    stored: Review | None
    """The decision that holds at the moment."""

    @property
    def name(self) -> str:
        """Name of the entity."""
        about = self.text or self.claim
        assert about is not None
        return about.entity

    @property
    def contradicted(self) -> bool:
        """Reviewers disagree."""
        return any(not one.same_as(self.opinions[0]) for one in self.opinions[1:])


def winner_of(voices: Sequence[Opinion], *, needed: int) -> Opinion | None:
    """The opinion that decides: enough reviewers share it, or it is the third; None where a further one is needed."""
    last = voices[-1]
    if len(voices) > 2 or all(one.same_as(last) for one in voices):
        return last if len(voices) >= needed else None
    return None


def row_of(item: ReviewItem, winner: Opinion, agreed: Sequence[Opinion]) -> Review:
    """The stored decision, with the names and the time of all who share it."""
    assert item.text is not None
    try:
        return item.text.decided(
            reviewer=", ".join(dict.fromkeys(one.reviewer for one in agreed)),
            decision=winner.decision,
            edited_text=winner.edited_text,
            minutes=round(sum(one.seconds for one in agreed) / 60, 4),
            note=winner.note,
        )
    except ValidationError as error:
        raise ConfigError(f"{item.name}: {faults(error)}") from None
