"""What is said to a server about one entity: redacted, audited, asked, and once more where the reply is faulty."""

from __future__ import annotations

import base64
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from entityclip.explanations.audit import Audit
from entityclip.explanations.config import OpenAIConfig
from entityclip.explanations.openai_client import Message, RequestFailed, client_for, complete, text_of
from entityclip.explanations.pii import Redactor
from entityclip.explanations.prompting import Completion, Prompter, as_jpeg, small_picture
from entityclip.explanations.reply import ReplyFault
from entityclip.explanations.source_writer import Writer, WriterAnswer
from entityclip.schemas import ExplanationRequest

if TYPE_CHECKING:
    from openai import AsyncOpenAI


@dataclass(frozen=True)
class Opening:
    """What is said first about one entity."""

    messages: list[Message]
    taken_out: dict[str, int]
    """Kind of personal data -> how many were taken out."""


class Conversation:
    """One run's connection to a server. ``begin`` makes it inside the event loop that uses it."""

    def __init__(self, config: OpenAIConfig, *, client: AsyncOpenAI, audit: Audit, writer: Writer) -> None:
        self._config, self._client, self._audit, self._writer = config, client, audit, writer
        self._prompter = Prompter(config)
        self._host = config.hosts.require(config.base_url)
        self._redactor = Redactor(names=config.person_models) if config.redact else None

    @classmethod
    async def begin(cls, config: OpenAIConfig, *, ledger: Path, writer: Writer) -> Conversation:
        """Open the connection and the audit."""
        return cls(config, client=client_for(config), audit=Audit(ledger), writer=writer)

    async def end(self) -> None:
        """Close both."""
        await self._client.close()
        self._audit.__exit__(None, None, None)

    def opening(self, request: ExplanationRequest) -> Opening:
        """What is said first. Takes its time, so it is made outside of the loop, which others wait on."""
        sent, taken_out = self._redacted(request)
        return Opening(messages=self._messages(sent), taken_out=taken_out)

    async def answer(self, request: ExplanationRequest, opening: Opening) -> WriterAnswer:
        """Ask; where the reply is faulty, ask once to mend it; where that does not help, set it aside.

        Raises:
            RequestFailed: There is no reply.
        """
        started = time.monotonic()
        messages, taken_out = list(opening.messages), opening.taken_out
        said = await self._said(messages, request=request, taken_out=taken_out)
        try:
            answer = self._prompter.answer(request, said, writer=self._writer)
        except ReplyFault as fault:
            messages.append({"role": "assistant", "content": said.text})
            messages.append({"role": "user", "content": self._prompter.repair(fault)})
            try:
                mended = await self._said(messages, request=request, taken_out=taken_out)
            except RequestFailed as failure:
                failure.cost += said.cost
                raise
            answer = self._prompter.last_answer(request, mended, spent=said.cost, writer=self._writer)
        cost = answer.cost.model_copy(update={"seconds": time.monotonic() - started})
        return answer.model_copy(update={"cost": cost})

    async def _said(
        self, messages: list[Message], *, request: ExplanationRequest, taken_out: dict[str, int]
    ) -> Completion:
        self._audit.record(
            text_of(messages),
            entity_id=request.entity_id,
            host=self._host,
            model=self._config.model,
            redactions=taken_out,
        )
        return await complete(self._client, messages, config=self._config)

    def _redacted(self, request: ExplanationRequest) -> tuple[ExplanationRequest, dict[str, int]]:
        """``request`` without personal data, and how much of which kind was taken out."""
        redactor = self._redactor
        if redactor is None:
            return request, {}
        taken_out: Counter[str] = Counter()

        def clean(text: str) -> str:
            redacted = redactor.redact(text, language=request.language)
            taken_out.update(redacted.counts)
            return redacted.text

        texts = {name: clean(getattr(request, name)) for name in ("entity", "caption", "category", "reason")}
        source_provided = tuple(map(clean, request.source_provided))
        return request.model_copy(update={**texts, "source_provided": source_provided}), dict(taken_out)

    def _messages(self, request: ExplanationRequest) -> list[Message]:
        prompt = self._prompter.prompt(request)
        picture = small_picture(request)
        said: list[Message] = [{"type": "text", "text": prompt["user"]}]
        if picture is not None:
            data = base64.b64encode(as_jpeg(picture)).decode()
            said.append({"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}})
        content = said if picture is not None else prompt["user"]  # small servers take plain text alone
        return [{"role": "system", "content": prompt["system"]}, {"role": "user", "content": content}]
