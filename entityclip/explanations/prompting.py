"""What all language models share: the prompt, the check of the reply, and one repair request."""

from __future__ import annotations

import io
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from PIL import Image

from entityclip.data.pairs import digest
from entityclip.errors import ImageError
from entityclip.explanations.config import GenerationConfig
from entityclip.explanations.prompt import Prompt, prompt_name, prompt_source, render
from entityclip.explanations.reply import Reply, ReplyFault, read_reply, reply_schema
from entityclip.explanations.rules import broken_rules
from entityclip.explanations.source_writer import Writer, WriterAnswer, WriterCost, record
from entityclip.schemas import ExplanationRequest

PICTURE_SIDE = 768
PICTURE_TOKENS = 800
"""Approximate tokens of a picture of that size; models differ."""
_CHANGES_THE_REQUEST = {"rules", "max_tokens", "temperature", "pictures", "max_pictures"}
_LATIN = re.compile(r"[\x00-\u024f]")


@dataclass(frozen=True)
class Completion:
    """The text that a model generated."""

    text: str
    whole: bool
    """Whether the text ended before the token limit."""
    cost: WriterCost


class BasePrompter(ABC):
    """Renders prompts and turns completions into answers.

    Args:
        max_tokens: Most tokens of a completion.
    """

    def __init__(self, *, max_tokens: int) -> None:
        self._max_tokens = max_tokens

    @abstractmethod
    def prompt_version(self, request: ExplanationRequest) -> str:
        """Name of the prompt and a hash of everything that changes the request."""

    @abstractmethod
    def prompt(self, request: ExplanationRequest) -> Prompt:
        """The first prompt for ``request``."""

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """JSON schema of the reply, in the format of ``response_format``."""

    @abstractmethod
    def answer(self, request: ExplanationRequest, completion: Completion, *, writer: Writer) -> WriterAnswer:
        """Convert a completion into an answer.

        Raises:
            ReplyFault: The completion is not the required JSON, or breaks a rule.
        """

    def last_answer(
        self, request: ExplanationRequest, completion: Completion, *, spent: WriterCost, writer: Writer
    ) -> WriterAnswer:
        """Convert the repaired completion into an answer; rejected if it is still faulty."""
        try:
            answer = self.answer(request, completion, writer=writer)
        except ReplyFault as fault:
            answer = WriterAnswer(request=request, cost=completion.cost, rejected=str(fault))
        return answer.model_copy(update={"cost": spent + answer.cost})

    def repair(self, fault: ReplyFault) -> str:
        """The repair request after a faulty reply."""
        return f"This reply cannot be used: {fault}. Answer again with the one required JSON object."

    def expected_tokens(self, request: ExplanationRequest) -> tuple[int, int]:
        """Estimated input tokens and maximum output tokens, without repairs."""
        prompt = self.prompt(request)
        pictures = PICTURE_TOKENS * len(request.pictures_sha256)
        return tokens_about(prompt["system"] + prompt["user"]) + pictures, self._max_tokens

    def _cut_off(self, completion: Completion) -> str:
        """What a fault adds where the completion was cut off."""
        return "" if completion.whole else f"; it was cut off after {self._max_tokens} tokens"


class Prompter(BasePrompter):
    """Requests the explanation of an entity; shared by all language models."""

    def __init__(self, config: GenerationConfig) -> None:
        super().__init__(max_tokens=config.max_tokens)
        self._config = config

    def prompt_version(self, request: ExplanationRequest) -> str:
        """Name of the prompt and a hash of its text and of every setting that changes the request."""
        name = prompt_name(self._config.domain, self._language(request))
        return f"{name}-{digest(prompt_source(name), self._settings(), repr(reply_schema()), length=12)}"

    def prompt(self, request: ExplanationRequest) -> Prompt:
        """The first prompt for ``request``."""
        return render(self._localised(request), domain=self._config.domain, rules=self._config.rules)

    def schema(self) -> dict[str, Any]:
        """Schema of an explanation."""
        return reply_schema()

    def answer(self, request: ExplanationRequest, completion: Completion, *, writer: Writer) -> WriterAnswer:
        """Convert a completion into an answer with its text. Raises like ``BasePrompter.answer``."""
        reply = self._checked(request, completion)
        records = (record(self._localised(request), reply.text, writer=writer),)
        return WriterAnswer(
            request=request, records=records, visible=reply.visible, doubts=reply.doubts, cost=completion.cost
        )

    def _checked(self, request: ExplanationRequest, completion: Completion) -> Reply:
        reply = self._read(request, completion)
        if broken := broken_rules(reply.text, self._config.rules):
            raise ReplyFault("text: " + "; ".join(f"{rule}: {what}" for rule, what in broken.items()))
        return reply

    def _read(self, request: ExplanationRequest, completion: Completion) -> Reply:  # noqa: ARG002 (others need it)
        try:
            return read_reply(completion.text)
        except ReplyFault as fault:
            raise ReplyFault(f"{fault}{self._cut_off(completion)}") from None

    def _localised(self, request: ExplanationRequest) -> ExplanationRequest:
        """``request`` with the language of its future text."""
        return request.model_copy(update={"language": self._language(request)})

    def _settings(self) -> str:
        return self._config.model_dump_json(include=_CHANGES_THE_REQUEST)

    def _language(self, request: ExplanationRequest) -> str:
        return self._config.rules.language or request.language


def tokens_about(text: str) -> int:
    """Estimated tokens of ``text``: one per four Latin letters and one per character of another script."""
    latin = len(_LATIN.findall(text))
    return latin // 4 + len(text) - latin + 1


def small_pictures(request: ExplanationRequest) -> list[Image.Image]:
    """The pictures of the request, upright, longer side at most ``PICTURE_SIDE``; without those that cannot be read."""
    from entityclip.data import images

    shown = []
    for content in request.pictures:
        try:
            picture = images.decode(content)
        except ImageError:
            continue
        picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
        shown.append(picture)
    return shown


def as_jpeg(picture: Image.Image) -> bytes:
    """``picture`` as a JPEG without metadata."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=85)
    return stream.getvalue()
