"""What a client may send: typed requests, read strictly.

BentoML's own reading of forms guesses too much for pictures and product codes: it downloads a URL that
stands in place of a picture, turns the text ``4006381333931`` into a number, and answers 500 to a broken
form. ``ApiRequest`` replaces that reading and nothing else; types, examples and OpenAPI stay BentoML's.
"""

from __future__ import annotations

import datetime
import json
from contextlib import suppress
from typing import Annotated, Any, Literal, Self, get_args, get_origin

import bentoml
from pydantic import ConfigDict, Field, StringConstraints, ValidationError, WithJsonSchema, model_validator
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest

from bentos.middleware.errors import Unreadable, Unusable, WrongType
from bentos.runtime.feedback import Verdict
from entityclip.errors import faults
from entityclip.retrieval.predictor import MOST_RERANKED
from entityclip.schemas import IndexKind, Line, Paragraph

LONGEST_TEXT = 2000
LONGEST_REASON = 1000
MOST_HITS = 100
MOST_TEXTS = 64
MOST_PICTURES = 16

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_TEXT)]
Picture = Annotated[
    bytes,  # never a path: a request must not be able to name a file of the server
    WithJsonSchema({"type": "file", "format": "binary"}, mode="validation"),  # as BentoML's clients read it
    WithJsonSchema({"type": "string", "format": "binary"}, mode="serialization"),  # as OpenAPI spells it
]
Rerank = Annotated[
    int, Field(ge=0, le=MOST_RERANKED, description="So many of the first entities a picture is compared with again.")
]


class ApiRequest(bentoml.IODescriptor):
    """A request as JSON or as a form. Pictures come as files of a form; every other field is text."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    @classmethod
    def __pydantic_init_subclass__(cls) -> None:
        """Name the fields that hold pictures; BentoML itself knows only its own file types."""
        super().__pydantic_init_subclass__()
        cls.multipart_fields = [n for n, field in cls.model_fields.items() if _holds_bytes(field.annotation)]

    @classmethod
    async def from_http_request(cls, request: HttpRequest, serde: object) -> Self:  # noqa: ARG003
        """Read ``request`` without guessing.

        Raises:
            Unreadable: The body is no form or JSON; becomes 400 with the reason.
            Unusable: A field is missing, unknown or out of range; becomes 422.
            WrongType: Neither a form nor JSON was sent; becomes 415.
        """
        media_type = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
        try:
            if media_type == "application/json":
                return cls.model_validate_json(await request.body() or b"{}")
            if media_type not in ("multipart/form-data", "application/x-www-form-urlencoded"):
                raise WrongType(f"content type {media_type!r}: send application/json or multipart/form-data")
            return cls.model_validate(await cls._form(request))
        except ValidationError as error:
            # What was sent stays out of the answer and, with the cause cut off, out of the log.
            broken = error.errors()[0]["type"] == "json_invalid"
            raise (Unreadable if broken else Unusable)(
                _shortly(faults(error, whole="the request"), error.error_count())
            ) from None

    @classmethod
    async def _form(cls, request: HttpRequest) -> dict[str, Any]:
        """The fields of a form."""
        try:
            form = await request.form()
        except HTTPException as error:
            raise Unreadable(f"the form cannot be read: {error.detail}") from None
        values = {name: [await cls._value(name, v) for v in form.getlist(name)] for name in form}
        return {name: cls._one_or_many(name, found) for name, found in values.items()}

    @classmethod
    async def _value(cls, name: str, value: str | UploadFile) -> str | bytes:
        """A picture's bytes, or a text as it was typed."""
        if isinstance(value, UploadFile):
            if name not in cls.multipart_fields:
                raise Unusable(f"field {name!r} is a file, expected text")
            return await value.read()
        if name in cls.multipart_fields:
            raise Unusable(f"field {name!r} is text, expected a picture file (curl: -F {name}=@FILE)")
        return _unquoted(value)

    @classmethod
    def _one_or_many(cls, name: str, found: list[str | bytes]) -> Any:
        """A repeated field is a list where a list is expected; elsewhere it is a mistake."""
        field = cls.model_fields.get(name)
        if field is not None and get_origin(field.annotation) is list:
            return found
        if len(found) > 1:
            raise Unusable(f"field {name!r} was sent {len(found)} times, expected once")
        return found[0]


def _holds_bytes(annotation: Any) -> bool:
    return annotation is bytes or any(_holds_bytes(part) for part in get_args(annotation))


def _shortly(reason: str, count: int) -> str:
    """The answer to a request with 50,000 faults is not larger than the request."""
    return reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]} ... ({count} faults)"


def _unquoted(text: str) -> str:
    """BentoML's client writes texts of a form as JSON strings; anything else is what somebody typed."""
    if text.startswith('"') and text.endswith('"'):
        with suppress(ValueError):
            return str(json.loads(text))
    return text


class AboutRequest(ApiRequest):
    """Nothing to say."""


class SearchRequest(ApiRequest):
    """Find pictures and entities by text, by picture, or by both."""

    text: Text | None = Field(default=None, description="What to look for.", examples=["KX-204B"])
    image: Picture | None = Field(default=None, description="A picture of it: JPEG, PNG, WebP ..., whatever its name.")
    k: int = Field(default=10, ge=1, le=MOST_HITS, description="How many hits.")
    index: IndexKind = Field(default="mixed", description="Entities by caption, by explanation, or by both.")
    target: Literal["pictures", "entities"] = Field(default="pictures", description="What the hits are.")
    rerank: Rerank = 0
    categories: list[Line] = Field(default=[], max_length=50, description="Only entities of one of these categories.")
    tags: list[Line] = Field(default=[], max_length=50, description="Only entities with all of these tags.")
    languages: list[Line] = Field(default=[], max_length=50, description="Only these languages.", examples=[["ja"]])
    since: datetime.date | None = Field(default=None, description="Only entities dated on this day or later.")
    until: datetime.date | None = Field(default=None, description="Only entities dated on this day or earlier.")

    @model_validator(mode="after")
    def _something_to_look_for(self) -> Self:
        if self.text is None and self.image is None:
            raise ValueError("send text, image, or both")
        return self


class TagRequest(ApiRequest):
    """Name what a picture shows."""

    image: Picture = Field(description="A picture: JPEG, PNG, WebP ..., whatever its name.")
    k: int = Field(default=5, ge=1, le=MOST_HITS, description="How many tags.")
    precision: float = Field(
        default=0.9, ge=0, le=1, description="Share of the vouched tags that is right: 0.8, 0.9, 0.95, 0.99."
    )
    rerank: Rerank = 0


class MatchRequest(ApiRequest):
    """Compare a picture with a text."""

    image: Picture = Field(description="A picture: JPEG, PNG, WebP ..., whatever its name.")
    text: Text = Field(description="A name, a code or a description.", examples=["red mug with white dots"])


class TextsRequest(ApiRequest):
    """Texts to embed."""

    texts: list[Text] = Field(min_length=1, max_length=MOST_TEXTS, examples=[["KX-204B", "red mug"]])


class PicturesRequest(ApiRequest):
    """Pictures to embed: one form field ``images`` for each."""

    images: list[Picture] = Field(min_length=1, max_length=MOST_PICTURES)


class EntityRequest(ApiRequest):
    """An entity to add, or to put in the place of the one with this id: found by the next request."""

    entity_id: Line | None = Field(default=None, description="Of the one to change; made from the name when left out.")
    entity: Line = Field(description="Its name or code.", examples=["KX-204B"])
    aliases: list[Line] = Field(default=[], max_length=50, description="Other names and codes.")
    category: Line | None = None
    tags: list[Line] = Field(default=[], max_length=50)
    date: datetime.date | None = None
    language: Line = Field(default="en", examples=["ja"])
    explanations: list[Paragraph] = Field(
        default=[], max_length=10, description="What can be seen on it; this is how it is found unphotographed."
    )
    images: list[Picture] = Field(default=[], max_length=MOST_PICTURES, description="Pictures of it.")
    keep_pictures: bool = Field(default=True, description="False: the pictures that it had are given up.")


class RemovalRequest(ApiRequest):
    """An entity to take out, with its pictures."""

    entity_id: Line


class FeedbackRequest(ApiRequest):
    """Whether an answer was right: a judgement of one entity for one text, one picture, or both."""

    release: str = Field(pattern=r"^v\d+\.\d+\.\d+$", description="Of the answer.", examples=["v1.0.0"])
    verdict: Verdict = Field(description="The entity was right, was wrong, or should have been found.")
    entity_id: Line | None = Field(default=None, description="As the answer named it.")
    entity: Line | None = Field(default=None, description="Its name, when it was missing and has no id yet.")
    text: Text | None = Field(default=None, description="What was searched for.")
    image: Picture | None = Field(default=None, description="What was shown.")

    @model_validator(mode="after")
    def _something_to_judge(self) -> Self:
        if (self.entity_id is None) == (self.entity is None):
            raise ValueError("send entity_id, or entity where there is no id")
        if self.entity is not None and self.verdict != "missing":
            raise ValueError("entity without entity_id: only what was missing has no id")
        if self.text is None and self.image is None:
            raise ValueError("send text, image, or both: what was asked")
        return self
