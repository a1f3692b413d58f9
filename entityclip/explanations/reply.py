"""What a language model has to answer: one JSON object; and reading it out of what it really says."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from entityclip.errors import faults

MOST_CHARACTERS = 20_000
"""Nothing longer is read: a model that goes in circles is not worth the memory."""
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class Reply(BaseModel):
    """The answer of a language model about one thing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(description="The description, as plain sentences.")
    visible: tuple[str, ...] = Field(description="What can be seen on the thing, a few words each.")
    doubts: tuple[str, ...] = Field(description="What is not certain, a few words each; empty when all is.")


class ReplyFault(Exception):
    """What was said is not the answer that was asked for; the message tells the model what to mend."""


def reply_schema() -> dict[str, Any]:
    """The JSON schema of a reply, as servers take it that hold a model to a schema."""
    return {"name": "explanation", "strict": True, "schema": Reply.model_json_schema()}


def read_reply(said: str) -> Reply:
    """The reply in ``said``, with or without a code fence, thoughts before it or words around it.

    Raises:
        ReplyFault: There is no JSON object, or not this one.
    """
    if len(said) > MOST_CHARACTERS:
        raise ReplyFault(f"the reply has {len(said)} characters; be brief")
    spoken = _THOUGHT.sub("", said)
    first, last = spoken.find("{"), spoken.rfind("}")
    if first < 0 or last < first:
        raise ReplyFault("the reply has no whole JSON object")
    try:
        reply = Reply.model_validate(json.loads(spoken[first : last + 1], strict=False))
    except ValidationError as error:
        raise ReplyFault(faults(error)) from None
    except (ValueError, RecursionError) as error:
        raise ReplyFault(f"the reply is not JSON: {error}") from None
    text = _line(reply.text)
    if not text:
        raise ReplyFault("text: is empty")
    return Reply(text=text, visible=_lines(reply.visible), doubts=_lines(reply.doubts))


def _lines(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(filter(None, map(_line, texts)))


def _line(text: str) -> str:
    """One line without unprintable characters, nor halves of pairs that no file could hold."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join(_CONTROL.sub(" ", whole).split())
