"""Typed requests with strict parsing.

BentoML's own parsing of forms guesses too much: it downloads a URL given in place of a picture, converts the text
``4006381333931`` to a number, and returns 500 for a broken form. ``ApiRequest`` replaces only the parsing; types,
examples and OpenAPI remain BentoML's.
"""

from __future__ import annotations

import datetime
import json
from contextlib import suppress
from typing import Annotated, Any, Literal, Self, get_args, get_origin

import bentoml
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest

from bentos.middleware.errors import Unreadable, Unusable, WrongType
from bentos.runtime.feedback import Verdict
from entityclip.errors import faults
from entityclip.schemas import IndexKind, Line, Paragraph
from entityclip.schemas.answers import MOST_RERANKED
from entityclip.schemas.labels import Read

LONGEST_TEXT = 2000
LONGEST_REASON = 1000
MOST_HITS = 100
MOST_TEXTS = 64
MOST_PICTURES = 16

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_TEXT)]
Picture = Annotated[
    bytes,  # never a path: a request must not name a file of the server
    WithJsonSchema({"type": "file", "format": "binary"}, mode="validation"),  # for BentoML's clients
    WithJsonSchema({"type": "string", "format": "binary"}, mode="serialization"),  # for OpenAPI
]


def _one_or_many(value: Any) -> Any:
    """A list where one picture was sent."""
    return value if isinstance(value, list) else [value]


SeveralPictures = Annotated[list[Picture], BeforeValidator(_one_or_many), Field(max_length=MOST_PICTURES)]
"""Pictures of one thing: one form field for each."""
Rerank = Annotated[
    int, Field(ge=0, le=MOST_RERANKED, description="Number of top entities to re-rank; needs a picture query.")
]


class ApiRequest(bentoml.IODescriptor):
    """A request as JSON or as a form. Pictures are files of a form; every other field is text."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    @classmethod
    def __pydantic_init_subclass__(cls) -> None:
        """Declare the picture fields as files; BentoML only recognizes its own file types."""
        super().__pydantic_init_subclass__()
        cls.multipart_fields = [n for n, field in cls.model_fields.items() if _holds_bytes(field.annotation)]

    @classmethod
    async def from_http_request(cls, request: HttpRequest, serde: object) -> Self:  # noqa: ARG003
        """Parse ``request`` strictly.

        Raises:
            Unreadable: The body cannot be parsed; becomes 400 with the reason.
            Unusable: A field is missing, unknown or out of range; becomes 422.
            WrongType: The content type is neither JSON nor a form; becomes 415.
        """
        media_type = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
        try:
            if media_type == "application/json":
                return cls.model_validate_json(await request.body() or b"{}")
            if media_type not in ("multipart/form-data", "application/x-www-form-urlencoded"):
                raise WrongType(f"content type {media_type!r}: send application/json or multipart/form-data")
            return cls.model_validate(await cls._form(request))
        except ValidationError as error:
            # `from None`: the content of the request must not reach the log.
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
        """Bytes of a picture, or the text as it was sent."""
        if isinstance(value, UploadFile):
            if name not in cls.multipart_fields:
                raise Unusable(f"field {name!r} is a file, expected text")
            return await value.read()
        if name in cls.multipart_fields:
            raise Unusable(f"field {name!r} is text, expected a picture file (curl: -F {name}=@FILE)")
        return _unquoted(value)

    @classmethod
    def _one_or_many(cls, name: str, found: list[str | bytes]) -> Any:
        """A list if the field is a list; otherwise the one value. A repeated scalar field is an error."""
        field = cls.model_fields.get(name)
        if field is not None and _holds_list(field.annotation):
            return found
        if len(found) > 1:
            raise Unusable(f"field {name!r} was sent {len(found)} times, expected once")
        return found[0]


def _holds_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(_holds_list(part) for part in get_args(annotation))


def _holds_bytes(annotation: Any) -> bool:
    return annotation is bytes or any(_holds_bytes(part) for part in get_args(annotation))


def _shortly(reason: str, count: int) -> str:
    """The reason, shortened: a request with 50,000 faults must not get a huge response."""
    return reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]} ... ({count} faults)"


def _unquoted(text: str) -> str:
    """The text without JSON quotes, which BentoML's client adds to text fields of a form."""
    if text.startswith('"') and text.endswith('"'):
        with suppress(ValueError):
            return str(json.loads(text))
    return text


class AboutRequest(ApiRequest):
    """A request without fields."""


class SearchRequest(ApiRequest):
    """Find pictures and entities by text, by picture, or by both."""

    text: Text | None = Field(default=None, description="Text query: words, a name or a code.", examples=["KX-204B"])
    image: SeveralPictures | None = Field(
        default=None,
        description="Picture query: JPEG, PNG, WebP, GIF, BMP or TIFF. Repeat it for pictures of one thing.",
    )
    k: int = Field(default=10, ge=1, le=MOST_HITS, description="Number of hits.")
    index: IndexKind = Field(default="mixed", description="Match entities by caption, explanation, images or all.")
    target: Literal["pictures", "entities"] = Field(default="pictures", description="Type of the hits.")
    rerank: Rerank = 0
    categories: list[Line] = Field(default=[], max_length=50, description="Only entities of one of these categories.")
    tags: list[Line] = Field(default=[], max_length=50, description="Only entities with all of these tags.")
    languages: list[Line] = Field(
        default=[], max_length=50, description="Only entities in one of these languages.", examples=[["ja"]]
    )
    since: datetime.date | None = Field(default=None, description="Only entities dated on this day or later.")
    until: datetime.date | None = Field(default=None, description="Only entities dated on this day or earlier.")

    @model_validator(mode="after")
    def _something_to_look_for(self) -> Self:
        if self.text is None and not self.image:
            raise ValueError("send text, image, or both")
        return self


class TagRequest(ApiRequest):
    """Find the entities that a picture shows, or several pictures of one thing."""

    image: SeveralPictures = Field(
        min_length=1, description="A picture: JPEG, PNG, WebP, GIF, BMP or TIFF. Repeat it for pictures of one thing."
    )
    k: int = Field(default=5, ge=1, le=MOST_HITS, description="Number of tags.")
    precision: float = Field(
        default=0.9, ge=0, le=1, description="Target precision of tags above the threshold: 0.8, 0.9, 0.95 or 0.99."
    )
    rerank: Rerank = 0
    read: Read = Field(
        default=False,
        description="Read codes and names on labels: true, auto (only where a reader is installed) or false.",
    )


class MatchRequest(ApiRequest):
    """Compare a picture, or several pictures of one thing, with a text."""

    image: SeveralPictures = Field(
        min_length=1, description="A picture: JPEG, PNG, WebP, GIF, BMP or TIFF. Repeat it for pictures of one thing."
    )
    text: Text = Field(description="A name, a code or a description.", examples=["red mug with white dots"])


class TextsRequest(ApiRequest):
    """Texts to embed."""

    texts: list[Text] = Field(min_length=1, max_length=MOST_TEXTS, examples=[["KX-204B", "red mug"]])


class PicturesRequest(ApiRequest):
    """Pictures to embed: one form field ``images`` for each."""

    images: list[Picture] = Field(min_length=1, max_length=MOST_PICTURES)


class EntityRequest(ApiRequest):
    """An entity to add, or to replace the one with this id. The next request finds it."""

    entity_id: Line | None = Field(default=None, description="Id of the entity; default: derived from the name.")
    entity: Line = Field(description="Its name or code.", examples=["KX-204B"])
    aliases: list[Line] = Field(default=[], max_length=50, description="Other names and codes.")
    category: Line | None = None
    tags: list[Line] = Field(default=[], max_length=50)
    date: datetime.date | None = None
    language: Line = Field(default="en", examples=["ja"])
    explanations: list[Paragraph] = Field(
        default=[], max_length=10, description="Visible features; with them it is found even without a picture."
    )
    images: list[Picture] = Field(default=[], max_length=MOST_PICTURES, description="Pictures of it.")
    keep_pictures: bool = Field(default=True, description="Keep the stored pictures of the entity; false deletes them.")


class RemovalRequest(ApiRequest):
    """An entity to remove, with its pictures."""

    entity_id: Line


class FeedbackRequest(ApiRequest):
    """Whether an answer was right: a judgement of one entity for a text, a picture, or both."""

    release: str = Field(pattern=r"^v\d+\.\d+\.\d+$", description="Release of the answer.", examples=["v1.0.0"])
    verdict: Verdict = Field(description="The entity was right, was wrong, or should have been found.")
    entity_id: Line | None = Field(default=None, description="Id of the entity in the answer.")
    entity: Line | None = Field(default=None, description="Name of a missing entity that has no id yet.")
    text: Text | None = Field(default=None, description="Text of the query.")
    image: Picture | None = Field(default=None, description="Picture of the query.")

    @model_validator(mode="after")
    def _something_to_judge(self) -> Self:
        if (self.entity_id is None) == (self.entity is None):
            raise ValueError("send either entity_id, or entity if it has no id")
        if self.entity is not None and self.verdict != "missing":
            raise ValueError("entity without entity_id needs verdict 'missing'; otherwise send entity_id")
        if self.text is None and self.image is None:
            raise ValueError("send the text or the image of the query, or both")
        return self
