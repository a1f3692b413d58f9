"""Responses of the HTTP API. Each one names its release, so that feedback can be attributed to a release."""

from __future__ import annotations

from pydantic import Field

from entityclip.schemas import Hit, Match, ModelFacts, PackageCard, Reading, Record, Tag


class ReleaseAnswer(Record):
    """Fields of every response."""

    release: str = Field(description="Version of the release that produced the response.", examples=["v1.0.0"])


class SearchAnswer(ReleaseAnswer):
    """Pictures or entities, best first."""

    hits: list[Hit]


class TagAnswer(ReleaseAnswer):
    """Entities that the picture may show, best first."""

    unknown: bool = Field(description="No tag reaches the threshold: the picture may show none of the entities.")
    tags: list[Tag]
    reading: Reading | None = Field(
        default=None, description="What was read on labels in the picture; None if the request did not ask for it."
    )


class MatchAnswer(ReleaseAnswer, Match):
    """How well a text fits a picture."""


class EmbedAnswer(ReleaseAnswer):
    """One unit vector per text or picture, in the order of the request."""

    vectors: list[list[float]]


class EntityAnswer(ReleaseAnswer):
    """The entity was added, changed or removed, effective for every worker from the next request on."""

    entity_id: str


class FeedbackAnswer(ReleaseAnswer):
    """The feedback was stored."""

    id: str = Field(description="Id of the feedback; a duplicate has the same id and is stored once.")


class AboutAnswer(PackageCard):
    """The served release, and the contents of its model and indexes."""

    model: ModelFacts
    behind: bool = Field(description="The decided release cannot be loaded yet, so this one is still served.")
