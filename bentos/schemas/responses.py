"""What the service answers. Every answer names the release that gave it, so that feedback can be laid to its door."""

from __future__ import annotations

from pydantic import Field

from entityclip.schemas import Hit, Match, ModelFacts, PackageCard, Record, Tag


class ReleaseAnswer(Record):
    """What all answers have."""

    release: str = Field(description="Version of the release that answered.", examples=["v1.0.0"])


class SearchAnswer(ReleaseAnswer):
    """Pictures or entities, best first."""

    hits: list[Hit]


class TagAnswer(ReleaseAnswer):
    """Entities that the picture may show, best first."""

    unknown: bool = Field(description="The model vouches for none of them: the picture may show none of its entities.")
    tags: list[Tag]


class MatchAnswer(ReleaseAnswer, Match):
    """How well a text fits a picture."""


class EmbedAnswer(ReleaseAnswer):
    """One unit vector per text or picture, in their order."""

    vectors: list[list[float]]


class EntityAnswer(ReleaseAnswer):
    """The entity is there, or gone: for every worker, from the next request on."""

    entity_id: str


class FeedbackAnswer(ReleaseAnswer):
    """The judgement is kept."""

    id: str = Field(description="Of the judgement; the same one sent twice has the same id and is kept once.")


class AboutAnswer(PackageCard):
    """Which release is served, and what its model and indexes hold."""

    model: ModelFacts
    behind: bool = Field(description="Another release was decided and cannot be loaded; this one answers until it can.")
