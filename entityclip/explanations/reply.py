"""The replies that a language model must give, each one JSON object, and their parser."""

from __future__ import annotations

import json
import re
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from entityclip.errors import faults

MOST_CHARACTERS = 20_000
"""Limit of a reply; longer ones come from a model that repeats itself."""
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")

ClaimAnswer = Literal["yes", "no", "cannot see"]
Object = TypeVar("Object", bound=BaseModel)


class Reply(BaseModel):
    """The reply of a language model about one entity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(description="The description, as plain sentences.")
    visible: tuple[str, ...] = Field(description="What can be seen on the thing, a few words each.")
    doubts: tuple[str, ...] = Field(description="What is not certain, a few words each; empty when all is.")


class ClaimAnswers(BaseModel):
    """The reply of a second reader about the claims of one text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answers: tuple[ClaimAnswer, ...] = Field(description="For each claim, in order, whether the pictures show it.")


class ReplyFault(Exception):
    """The reply does not match the required format; the message tells the model what to repair."""


def reply_schema() -> dict[str, Any]:
    """The JSON schema of a text's reply, in the format of ``response_format``."""
    return {"name": "explanation", "strict": True, "schema": Reply.model_json_schema()}


def answers_schema() -> dict[str, Any]:
    """The same for the answers about claims."""
    return {"name": "claims", "strict": True, "schema": ClaimAnswers.model_json_schema()}


def read_reply(completion: str) -> Reply:
    """Parse the reply in ``completion``; allows a code fence, preceding thoughts and surrounding text.

    Raises:
        ReplyFault: There is no JSON object, or it has other fields.
    """
    reply = _parsed(completion, Reply)
    text = _line(reply.text)
    if not text:
        raise ReplyFault("text: is empty")
    return Reply(text=text, visible=_lines(reply.visible), doubts=_lines(reply.doubts))


def read_answers(completion: str, *, claims: int) -> tuple[ClaimAnswer, ...]:
    """Parse the answers about so many claims.

    Raises:
        ReplyFault: There is no JSON object, it has other fields, or another number of answers.
    """
    found = _parsed(completion, ClaimAnswers).answers
    if len(found) != claims:
        raise ReplyFault(f"answers: {len(found)} for {claims} claims; give one for each claim, in order")
    return found


def _parsed(completion: str, kind: type[Object]) -> Object:
    """The first JSON object of ``completion``. Raises ReplyFault."""
    if len(completion) > MOST_CHARACTERS:
        raise ReplyFault(f"the reply has {len(completion)} characters; be brief")
    visible = _THOUGHT.sub("", completion)
    first, last = visible.find("{"), visible.rfind("}")
    if first < 0 or last < first:
        raise ReplyFault("the reply has no whole JSON object")
    try:
        return kind.model_validate(json.loads(visible[first : last + 1], strict=False))
    except ValidationError as error:
        raise ReplyFault(faults(error)) from None
    except (ValueError, RecursionError) as error:
        raise ReplyFault(f"the reply is not JSON: {error}") from None


def _lines(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(filter(None, map(_line, texts)))


def _line(text: str) -> str:
    """One line without control characters and lone surrogates."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join(_CONTROL.sub(" ", whole).split())
