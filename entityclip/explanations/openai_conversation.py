"""The conversation with a server about one entity: redact, audit, send, and request one repair of a faulty reply."""

from __future__ import annotations

import base64
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from entityclip.explanations.audit import Audit
from entityclip.explanations.openai_client import ChatConfig, Message, RequestFailed, client_for, complete, text_of
from entityclip.explanations.pii import Redactor
from entityclip.explanations.prompting import BasePrompter, Completion, as_jpeg, small_pictures
from entityclip.explanations.reply import ReplyFault
from entityclip.explanations.source_writer import Writer, WriterAnswer
from entityclip.schemas import ExplanationRequest

if TYPE_CHECKING:
    from openai import AsyncOpenAI


@dataclass(frozen=True)
class Opening:
    """The first messages about one entity."""

    messages: list[Message]
    redactions: dict[str, int]
    """Kind of personal data -> number of redactions."""


class Conversation:
    """Connection of one run to a server. Create it with ``begin``, inside the event loop that uses it."""

    def __init__(
        self, config: ChatConfig, *, prompter: BasePrompter, client: AsyncOpenAI, audit: Audit, writer: Writer
    ) -> None:
        self._config, self._client, self._audit, self._writer = config, client, audit, writer
        self._prompter = prompter
        self._host = config.hosts.require(config.base_url)
        self._redactor = Redactor(names=config.person_models) if config.redact else None

    @classmethod
    async def begin(cls, config: ChatConfig, *, prompter: BasePrompter, ledger: Path, writer: Writer) -> Conversation:
        """Open the connection and the audit log."""
        return cls(config, prompter=prompter, client=client_for(config), audit=Audit(ledger), writer=writer)

    async def end(self) -> None:
        """Close both."""
        await self._client.close()
        self._audit.__exit__(None, None, None)

    def opening(self, request: ExplanationRequest) -> Opening:
        """Render and redact the first messages. This is slow, so call it outside the event loop."""
        sent, redactions = self._redacted(request)
        return Opening(messages=self._messages(sent), redactions=redactions)

    async def answer(self, request: ExplanationRequest, opening: Opening) -> WriterAnswer:
        """Send the request; request one repair of a faulty reply; set the answer aside if it is still faulty.

        Raises:
            RequestFailed: The server sent no reply.
        """
        started = time.monotonic()
        messages, redactions = list(opening.messages), opening.redactions
        first = await self._complete(messages, request=request, redactions=redactions)
        try:
            answer = self._prompter.answer(request, first, writer=self._writer)
        except ReplyFault as fault:
            messages.append({"role": "assistant", "content": first.text})
            messages.append({"role": "user", "content": self._prompter.repair(fault)})
            try:
                repaired = await self._complete(messages, request=request, redactions=redactions)
            except RequestFailed as failure:
                failure.cost += first.cost
                raise
            answer = self._prompter.last_answer(request, repaired, spent=first.cost, writer=self._writer)
        cost = answer.cost.model_copy(update={"seconds": time.monotonic() - started})
        return answer.model_copy(update={"cost": cost})

    async def _complete(
        self, messages: list[Message], *, request: ExplanationRequest, redactions: dict[str, int]
    ) -> Completion:
        self._audit.record(
            text_of(messages),
            entity_id=request.entity_id,
            host=self._host,
            model=self._config.model,
            redactions=redactions,
        )
        return await complete(self._client, messages, config=self._config, schema=self._prompter.schema())

    def _redacted(self, request: ExplanationRequest) -> tuple[ExplanationRequest, dict[str, int]]:
        """``request`` without personal data, and the number of redactions by kind."""
        redactor = self._redactor
        if redactor is None:
            return request, {}
        redactions: Counter[str] = Counter()

        def clean(text: str) -> str:
            redacted = redactor.redact(text, language=request.language)
            redactions.update(redacted.counts)
            return redacted.text

        texts = {name: clean(getattr(request, name)) for name in ("entity", "caption", "category", "reason")}
        source_provided = tuple(map(clean, request.source_provided))
        return request.model_copy(update={**texts, "source_provided": source_provided}), dict(redactions)

    def _messages(self, request: ExplanationRequest) -> list[Message]:
        prompt = self._prompter.prompt(request)
        coded = [base64.b64encode(as_jpeg(picture)).decode() for picture in small_pictures(request)]
        parts: list[Message] = [{"type": "text", "text": prompt["user"]}]
        parts += [{"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}} for data in coded]
        content = parts if coded else prompt["user"]  # small servers accept only plain text
        return [{"role": "system", "content": prompt["system"]}, {"role": "user", "content": content}]
