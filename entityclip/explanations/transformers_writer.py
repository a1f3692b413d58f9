"""A writer that runs a chat model or a vision-language model on this machine, from a folder; nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from entityclip.errors import ConfigError
from entityclip.explanations.chat_model import Chat, ChatModel, fingerprint
from entityclip.explanations.config import TransformersConfig
from entityclip.explanations.prompting import Completion, Prompter, small_picture
from entityclip.explanations.reply import ReplyFault
from entityclip.explanations.source_writer import WriterAnswer, WriterCost
from entityclip.schemas import ExplanationRequest


class TransformersWriter:
    """Asks a model in this process, a batch at a time. It is loaded when the first request comes.

    Raises:
        ConfigError: The folder holds no model that can chat, or one that takes no pictures where it should.
    """

    def __init__(self, config: TransformersConfig) -> None:
        self._config, self._prompter = config, Prompter(config)
        self._folder = Path(config.model)
        if not (self._folder / "config.json").is_file():
            raise ConfigError(f"model: {self._folder} is no folder with a config.json; bring the model there first")
        self._generator = f"transformers:{self._folder.resolve().name}@{fingerprint(self._folder)}"

    @property
    def generator(self) -> str:
        """``transformers:``, the folder's name and a fingerprint of what is in it."""
        return self._generator

    @property
    def sees_pictures(self) -> bool:
        """As it is set."""
        return self._config.pictures

    def prompt_version(self, request: ExplanationRequest) -> str:
        """The prompt's name, and a hash of all that changes what is asked."""
        return self._prompter.prompt_version(request)

    def expected(self, request: ExplanationRequest) -> WriterCost:
        """About the tokens of the prompt, and the most of a reply; repairs left out."""
        tokens_in, tokens_out = self._prompter.expected_tokens(request)
        return WriterCost(tokens_in=tokens_in, tokens_out=tokens_out)

    def write(self, requests: Iterable[ExplanationRequest]) -> Iterator[WriterAnswer]:
        """Answers in the order of the requests; faulty ones are asked once more, all of a batch together."""
        waiting = iter(requests)
        while some := list(islice(waiting, self._config.batch)):
            chats = [self._chat(request) for request in some]
            faulty: list[tuple[ExplanationRequest, Chat, Completion]] = []
            for request, chat, said in zip(some, chats, self._model.said(chats), strict=True):
                try:
                    yield self._prompter.answer(request, said, writer=self)
                except ReplyFault as fault:
                    faulty.append((request, self._mending(chat, said, fault), said))
            again = self._model.said([chat for _, chat, _ in faulty]) if faulty else []
            for (request, _, first), said in zip(faulty, again, strict=True):
                yield self._prompter.last_answer(request, said, spent=first.cost, writer=self)

    @cached_property
    def _model(self) -> ChatModel:
        return ChatModel(self._config)

    def _chat(self, request: ExplanationRequest) -> Chat:
        prompt = self._prompter.prompt(request)
        picture = small_picture(request)
        shown = [{"type": "image", "image": picture}] if picture is not None else []
        return [_says("system", prompt["system"]), _says("user", prompt["user"], shown)]

    def _mending(self, chat: Chat, said: Completion, fault: ReplyFault) -> Chat:
        return [*chat, _says("assistant", said.text), _says("user", self._prompter.repair(fault))]


def _says(role: str, text: str, shown: Iterable[dict[str, Any]] = ()) -> dict[str, Any]:
    return {"role": role, "content": [*shown, {"type": "text", "text": text}]}
