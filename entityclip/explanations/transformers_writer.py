"""A writer that runs a language model in this process, from a folder; nothing is downloaded.

A chat or vision-language model answers a request. A base model continues a list of examples, see ``few_shot``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from entityclip.architectures.hugging_face_clip import read_json_object
from entityclip.errors import ConfigError
from entityclip.explanations.config import TransformersConfig
from entityclip.explanations.few_shot import FewShotPrompter
from entityclip.explanations.language_model import Chat, LanguageModel, fingerprint
from entityclip.explanations.prompting import Completion, Prompter, small_pictures
from entityclip.explanations.reply import ReplyFault
from entityclip.explanations.source_writer import WriterAnswer, WriterCost
from entityclip.schemas import ExplanationRequest


class TransformersWriter:
    """Generates texts in batches. The model is loaded at the first request.

    Raises:
        ConfigError: The folder holds no such model, ``pictures`` is set and the model takes none, or the file of
            examples cannot be read.
    """

    def __init__(self, config: TransformersConfig) -> None:
        self._folder, needed = Path(config.model), config.gguf_file or "config.json"
        if not (self._folder / needed).is_file():
            raise ConfigError(
                f"model: {self._folder} is not a folder with a file {needed}; download the model into it first"
            )
        if config.pictures is None:
            text_only = config.gguf_file or config.few_shot
            sees = not text_only and "vision_config" in read_json_object(self._folder / "config.json")
            config = config.model_copy(update={"pictures": sees})
        self._config = config
        self._few_shot = FewShotPrompter(config, config.few_shot) if config.few_shot else None
        self._prompter = self._few_shot or Prompter(config)
        name = f"{self._folder.resolve().name}/{config.gguf_file}".rstrip("/")
        self._generator = f"transformers:{name}@{fingerprint(self._folder)}"

    @property
    def generator(self) -> str:
        """``transformers:``, the names of the folder and of the GGUF file, if any, and a fingerprint of the folder."""
        return self._generator

    @property
    def sees_pictures(self) -> int:
        """``max_pictures`` where ``pictures`` is set, otherwise none."""
        return self._config.max_pictures if self._config.pictures else 0

    def prompt_version(self, request: ExplanationRequest) -> str:
        """Name of the prompt and a hash of everything that changes the request."""
        return self._prompter.prompt_version(request)

    def expected(self, request: ExplanationRequest) -> WriterCost:
        """Estimated prompt tokens and the maximum of reply tokens, without repairs."""
        tokens_in, tokens_out = self._prompter.expected_tokens(request)
        return WriterCost(tokens_in=tokens_in, tokens_out=tokens_out)

    def write(self, requests: Iterable[ExplanationRequest]) -> Iterator[WriterAnswer]:
        """Yield the answers of each batch; faulty replies are repaired once, in one batch after the others.

        What a base model writes is not repaired: it would not read why.
        """
        waiting = iter(requests)
        while some := list(islice(waiting, self._config.batch)):
            if self._few_shot:
                texts = [self._few_shot.text(request) for request in some]
                for request, completion in zip(some, self._model.continue_texts(texts), strict=True):
                    yield self._prompter.last_answer(request, completion, spent=WriterCost(), writer=self)
                continue
            chats = [self._chat(request) for request in some]
            faulty: list[tuple[ExplanationRequest, Chat, Completion]] = []
            for request, chat, completion in zip(some, chats, self._model.complete(chats), strict=True):
                try:
                    yield self._prompter.answer(request, completion, writer=self)
                except ReplyFault as fault:
                    faulty.append((request, self._repair_chat(chat, completion, fault), completion))
            again = self._model.complete([chat for _, chat, _ in faulty]) if faulty else []
            for (request, _, first), completion in zip(faulty, again, strict=True):
                yield self._prompter.last_answer(request, completion, spent=first.cost, writer=self)

    @cached_property
    def _model(self) -> LanguageModel:
        return LanguageModel(self._config)

    def _chat(self, request: ExplanationRequest) -> Chat:
        prompt = self._prompter.prompt(request)
        pictures = [{"type": "image", "image": picture} for picture in small_pictures(request)]
        return [_turn("system", prompt["system"]), _turn("user", prompt["user"], pictures)]

    def _repair_chat(self, chat: Chat, completion: Completion, fault: ReplyFault) -> Chat:
        return [*chat, _turn("assistant", completion.text), _turn("user", self._prompter.repair(fault))]


def _turn(role: str, text: str, pictures: Iterable[dict[str, Any]] = ()) -> dict[str, Any]:
    return {"role": role, "content": [*pictures, {"type": "text", "text": text}]}
