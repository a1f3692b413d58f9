"""What a loaded package is asked and what it answers."""

from __future__ import annotations

import datetime
from typing import Literal

from pydantic import Field

from entityclip.schemas.base import Line, Paragraph, Record, Runtime


class Filter(Record):
    """Which entities a search may give; pictures are chosen by what they show. Empty fields let everything pass."""

    categories: tuple[str, ...] = Field(default=(), description="One of these categories.")
    tags: tuple[str, ...] = Field(default=(), description="All of these tags.")
    languages: tuple[str, ...] = Field(default=(), description="One of these languages, like en or ja.")
    since: datetime.date | None = Field(default=None, description="Dated on this day or later.")
    until: datetime.date | None = Field(default=None, description="Dated on this day or earlier.")


class EntityEntry(Record):
    """An entity that is added to a running index, or that takes the place of the one with the same id."""

    entity: Line = Field(description="Its name or code.")
    aliases: tuple[Line, ...] = Field(default=(), max_length=50, description="Other names and codes.")
    category: Line | None = None
    tags: tuple[Line, ...] = Field(default=(), max_length=50)
    date: datetime.date | None = None
    language: Line = "en"
    explanations: tuple[Paragraph, ...] = Field(
        default=(), max_length=10, description="What can be seen on it; this is how it is found unphotographed."
    )


class Evidence(Record):
    """One reason why a hit was found."""

    by: Literal["name", "code", "near code", "caption", "explanation", "picture"] = Field(
        description="What the query fits: a name or code in full or in part, a code that is written almost like it, "
        "a text, or a picture's looks."
    )
    text: str = Field(default="", description="The name or the piece of text that holds the query's words.")
    score: float | None = Field(default=None, description="Similarity, -1 to 1, where likeness found it.")


class Hit(Record):
    """One answer of a search: a picture, or an entity when entities were asked for."""

    entity_id: str
    entity: str
    score: float = Field(description="Similarity with the query, -1 to 1.")
    exact: bool = Field(description="The query is or holds this entity's very name or code; such hits come first.")
    near: bool = Field(default=False, description="The query is one slip away from this entity's name or code.")
    why: tuple[Evidence, ...] = Field(default=(), description="What the query fits, the strongest reason first.")
    pair_id: str | None = Field(default=None, description="The picture; None when the hit is an entity.")
    caption: str | None = None
    path: str | None = Field(default=None, description="The picture's file as its source named it.")
    match: float | None = Field(default=None, description="The matching head's probability, where it was re-ranked.")


class Tag(Record):
    """One entity that a picture may show."""

    entity_id: str
    entity: str
    score: float = Field(description="Similarity of picture and entity, -1 to 1.")
    confidence: float = Field(description="This entity's share among all, by the softmax of training: 0 to 1.")
    above_threshold: bool = Field(description="Reaches the calibrated threshold; False where there is none.")
    match: float | None = Field(default=None, description="The matching head's probability, where it was re-ranked.")


class Match(Record):
    """How well a text fits a picture, and what speaks for and against it."""

    score: float = Field(description="Similarity of picture and text, -1 to 1.")
    probability: float = Field(
        description="The text's share among itself and all entities that it does not name, by the softmax of training."
    )
    entity_id: str | None = Field(description="The entity that the text names; None when it names none.")
    explanation: str = Field(description="What is known to be visible on that entity; '' when nothing is.")
    nearest: tuple[Tag, ...] = Field(description="The entities that the picture is most similar to, best first.")


class ModelFacts(Record):
    """What a loaded package says about itself."""

    fingerprint: str
    runtime: Runtime = Field(default="torch", description="What the towers run on.")
    data_hash: str
    dimension: int = Field(description="Width of the joint space.")
    entities: int
    pictures: int
    mix: dict[str, float] = Field(description="Slice -> weight of the explanation in the mixed index.")
    slice_scale: dict[str, float] = Field(description="Slice -> factor of its vectors in the mixed index.")
    thresholds: dict[str, float] = Field(description="Target precision -> least confidence of a tag.")
    rerank: float = Field(description="Weight of the matching head in re-ranking; 0: it keeps the order.")
