"""How a language model is asked, whoever runs it: the prompt, the judgement on its reply, one request to mend it."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

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
"""About what a picture of that side costs; models differ."""
_LATIN = re.compile(r"[\x00-\u024f]")


@dataclass(frozen=True)
class Completion:
    """What a model said."""

    text: str
    whole: bool
    """Whether it came to an end by itself, not by the limit of tokens."""
    cost: WriterCost


class Prompter:
    """Everything that is the same for every language model, given how it is set."""

    def __init__(self, config: GenerationConfig) -> None:
        self._config = config

    def prompt_version(self, request: ExplanationRequest) -> str:
        """The prompt's name, and a hash of its text and of every setting that changes what is asked."""
        name = prompt_name(self._config.domain, self._language(request))
        settings = self._config.model_dump_json(include={"rules", "most_tokens", "temperature", "pictures"})
        return f"{name}-{digest(prompt_source(name), settings, repr(reply_schema()), length=12)}"

    def prompt(self, request: ExplanationRequest) -> Prompt:
        """What the model is told at first."""
        return render(self._spoken(request), domain=self._config.domain, rules=self._config.rules)

    def answer(self, request: ExplanationRequest, said: Completion, *, writer: Writer) -> WriterAnswer:
        """What was said, as an answer.

        Raises:
            ReplyFault: It is not the JSON that was asked for, or its text breaks a rule.
        """
        reply = self._judged(said)
        records = (record(self._spoken(request), reply.text, writer=writer),)
        return WriterAnswer(
            request=request, records=records, visible=reply.visible, doubts=reply.doubts, cost=said.cost
        )

    def last_answer(
        self, request: ExplanationRequest, said: Completion, *, spent: WriterCost, writer: Writer
    ) -> WriterAnswer:
        """What was said at the second asking, as an answer; set aside where it is faulty still."""
        try:
            answer = self.answer(request, said, writer=writer)
        except ReplyFault as fault:
            answer = WriterAnswer(request=request, cost=said.cost, set_aside=str(fault))
        return answer.model_copy(update={"cost": spent + answer.cost})

    def _judged(self, said: Completion) -> Reply:
        try:
            reply = read_reply(said.text)
        except ReplyFault as fault:
            cut = "" if said.whole else f"; it was cut off after {self._config.most_tokens} tokens"
            raise ReplyFault(f"{fault}{cut}") from None
        if broken := broken_rules(reply.text, self._config.rules):
            raise ReplyFault("text: " + "; ".join(f"{rule}: {what}" for rule, what in broken.items()))
        return reply

    def repair(self, fault: ReplyFault) -> str:
        """What the model is told after a faulty reply."""
        return f"This reply cannot be used: {fault}. Answer again with the one JSON object that was asked for."

    def expected_tokens(self, request: ExplanationRequest) -> tuple[int, int]:
        """About how many tokens go in, and how many come out at most; repairs left out."""
        prompt = self.prompt(request)
        picture = PICTURE_TOKENS if request.picture_sha256 else 0
        return tokens_about(prompt["system"] + prompt["user"]) + picture, self._config.most_tokens

    def _spoken(self, request: ExplanationRequest) -> ExplanationRequest:
        """``request`` in the language that its text will be in."""
        return request.model_copy(update={"language": self._language(request)})

    def _language(self, request: ExplanationRequest) -> str:
        return self._config.rules.language or request.language


def tokens_about(text: str) -> int:
    """About how many tokens ``text`` is: four Latin letters make one, and every character of another script."""
    latin = len(_LATIN.findall(text))
    return latin // 4 + len(text) - latin + 1


def small_picture(request: ExplanationRequest) -> Image.Image | None:
    """The request's picture, upright, its longer side at most ``PICTURE_SIDE``; None where it cannot be used."""
    if request.picture is None:
        return None
    from entityclip.data import images

    try:
        picture = images.decode(request.picture)
    except ImageError:
        return None
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    return picture


def as_jpeg(picture: Image.Image) -> bytes:
    """``picture`` as a JPEG without what a camera noted about place and time."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=85)
    return stream.getvalue()
