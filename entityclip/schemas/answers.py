"""Queries to a loaded package, and its answers."""

from __future__ import annotations

import datetime
from typing import Literal

from pydantic import Field

from entityclip.schemas.base import Line, Paragraph, Record, Runtime
from entityclip.schemas.labels import Box
from entityclip.schemas.mixture import Mixture, MixtureGroup
from entityclip.schemas.open_set import OpenSetRule

MOST_RERANKED = 100
"""Entities that are judged again at most: each takes two texts through the text tower."""


class Filter(Record):
    """Restricts a search to some entities, or to pictures of them. Empty fields do not filter."""

    categories: tuple[str, ...] = Field(default=(), description="One of these categories.")
    tags: tuple[str, ...] = Field(default=(), description="All of these tags.")
    languages: tuple[str, ...] = Field(default=(), description="One of these languages, like en or ja.")
    since: datetime.date | None = Field(default=None, description="Dated on this day or later.")
    until: datetime.date | None = Field(default=None, description="Dated on this day or earlier.")


class EntityEntry(Record):
    """An entity to add to a running index; it replaces an entity with the same id."""

    entity: Line = Field(description="Its name or code.")
    aliases: tuple[Line, ...] = Field(default=(), max_length=50, description="Other names and codes.")
    category: Line | None = None
    tags: tuple[Line, ...] = Field(default=(), max_length=50)
    date: datetime.date | None = None
    language: Line = "en"
    explanations: tuple[Paragraph, ...] = Field(
        default=(),
        max_length=10,
        description="Its visible features; a search finds an entity without pictures by them.",
    )


class Evidence(Record):
    """One reason why a hit was found."""

    by: Literal[
        "name",
        "code",
        "near code",
        "caption",
        "explanation",
        "picture",
        "photograph",
        "label",
        "near label",
        "label words",
    ] = Field(
        description="What matches the query: a name or code, in full or in part, a similar code, a text, the picture "
        "that was found, the entity's own photograph that is nearest to the query, or the entity's name or code on a "
        "label in the picture: as it is written, or but for a misread character; or a word that is on its own labels; "
        "or, for a query in words, the text on a picture of the index."
    )
    text: str = Field(
        default="",
        description="The name or text snippet with the words of the query; of a label, the line or the word as read.",
    )
    score: float | None = Field(default=None, description="Cosine similarity, -1 to 1; None for name and code matches.")
    pair_id: str | None = Field(default=None, description="The photograph.")
    path: str | None = Field(default=None, description="The photograph's file as its source named it.")
    box: Box | None = Field(
        default=None,
        description="The label's left, top, right, bottom, as shares of the upright picture's width and height.",
    )
    picture: int | None = Field(default=None, description="Number of the picture with the label, from 0.")


class Hit(Record):
    """One result of a search: a picture, or an entity when entities are searched."""

    entity_id: str
    entity: str
    score: float = Field(description="Similarity with the query, about -1 to 1.")
    exact: bool = Field(description="The query is or contains this entity's name or code; such hits rank first.")
    near: bool = Field(default=False, description="The query is one typing error away from this entity's name or code.")
    why: tuple[Evidence, ...] = Field(default=(), description="What matches the query, the strongest first.")
    pair_id: str | None = Field(default=None, description="The picture; None when the hit is an entity.")
    caption: str | None = None
    path: str | None = Field(default=None, description="The picture's file as its source named it.")
    match: float | None = Field(default=None, description="The matching head's probability, where it was re-ranked.")


class Tag(Record):
    """One entity that a picture may show."""

    entity_id: str
    entity: str
    score: float = Field(description="Similarity of picture and entity, about -1 to 1.")
    confidence: float = Field(
        description="Softmax over all entities, with the temperature of training, joined by what labels say: 0 to 1."
    )
    open_set: float | None = Field(
        default=None, description="Score of the open-set rule, 0 to 1; None where the model has none."
    )
    above_threshold: bool = Field(
        description="Confidence and open-set score reach their calibrated thresholds, False where there are none; or "
        "the entity's code is on a label, and it is the most similar one as well."
    )
    why: tuple[Evidence, ...] = Field(
        default=(), description="The label with its name or code, and its own photograph that is nearest, if any."
    )
    match: float | None = Field(default=None, description="The matching head's probability, where it was re-ranked.")


class Match(Record):
    """How well a text matches a picture, with the evidence."""

    score: float = Field(description="Similarity of picture and text, about -1 to 1.")
    probability: float = Field(
        description="Softmax of the text over itself and all entities that it does not name, 0 to 1."
    )
    entity_id: str | None = Field(description="The entity that the text names; None if there is none.")
    explanation: str = Field(description="Explanation of that entity; '' if it has none.")
    nearest: tuple[Tag, ...] = Field(description="The entities that the picture is most similar to, best first.")


class ModelFacts(Record):
    """Facts about a loaded package."""

    fingerprint: str
    runtime: Runtime = Field(default="torch", description="Runtime of the encoders.")
    data_hash: str
    dimension: int = Field(description="Width of the joint space.")
    entities: int
    pictures: int
    mixture: dict[MixtureGroup, Mixture] = Field(description="Group of entities -> its weights in the mixed index.")
    thresholds: dict[str, float] = Field(description="Target precision -> least confidence of a tag.")
    open_set: OpenSetRule | None = Field(
        default=None, description="What accepts a tag beside its confidence; None: not calibrated."
    )
    rerank: float = Field(description="Weight of the matching head in re-ranking; 0: no re-ranking.")
