"""A chat, vision-language or base model of transformers, loaded from a folder; generates in batches."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entityclip.data.pairs import digest
from entityclip.errors import ConfigError
from entityclip.explanations.config import TransformersConfig
from entityclip.explanations.prompting import Completion
from entityclip.explanations.source_writer import WriterCost

if TYPE_CHECKING:
    import torch

Chat = list[dict[str, Any]]
"""Turns of one conversation; the content is a list of parts: texts and PIL images."""
_SAMPLE = 2**16
_SAMPLES = 16


class LanguageModel:
    """Generates the next turn of conversations, or the next line of texts.

    Raises:
        ConfigError: The folder holds no such model, ``pictures`` is set and the model takes none, or the package that
            reads GGUF files is missing.
    """

    def __init__(self, config: TransformersConfig) -> None:
        import transformers
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as VISION_TYPES

        self._config, folder = config, config.model
        offline: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        if config.gguf_file:
            if find_spec("gguf") is None:
                raise ConfigError("gguf_file: the package gguf, which reads GGUF files, is missing: pip install gguf")
            offline["gguf_file"] = config.gguf_file
        try:
            kind = transformers.AutoConfig.from_pretrained(folder, **offline).model_type
            if config.pictures and kind not in VISION_TYPES:
                raise ConfigError(f"pictures: the model in {folder} ({kind}) takes none; set pictures to false")
            auto = (
                transformers.AutoModelForImageTextToText if kind in VISION_TYPES else transformers.AutoModelForCausalLM
            )
            reader = transformers.AutoProcessor if config.pictures else transformers.AutoTokenizer
            self._reader = reader.from_pretrained(folder, **offline)
            loaded = auto.from_pretrained(folder, dtype=config.dtype, device_map=config.device_map, **offline)
        except (OSError, ValueError, ImportError, RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"model: {folder} cannot be loaded by transformers: {reason[:300]}") from None
        self._model = loaded.eval()
        self._tokenizer = self._reader.tokenizer if config.pictures else self._reader
        if config.few_shot is None and not self._reader.chat_template and not self._tokenizer.chat_template:
            raise ConfigError(
                f"model: {folder} has no chat template, so it is a base model; set few_shot to a file of examples, "
                "which 'entityclip explain DIR --write-examples FILE' writes, or use an instruction-tuned (chat) model"
            )
        self._tokenizer.padding_side = "left"  # the completion must follow the prompt without padding between
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token

    def complete(self, chats: list[Chat]) -> list[Completion]:
        """The next turn of each conversation. Those with and those without pictures form separate batches."""
        completions: dict[int, Completion] = {}
        for with_picture in (True, False):
            some = [i for i, chat in enumerate(chats) if _has_picture(chat) is with_picture]
            if some:
                completions.update(zip(some, self._batch([chats[i] for i in some]), strict=True))
        return [completions[i] for i in range(len(chats))]

    def continue_texts(self, texts: list[str]) -> list[Completion]:
        """The rest of the last line of each text, in one batch."""
        started = time.monotonic()
        # Text in the data must never become a control token that ends the text or marks a speaker.
        read = self._tokenizer(texts, return_tensors="pt", padding=True, split_special_tokens=True)
        read = read.to(self._model.device)
        ended = _EndOfLine(self._tokenizer, prompt=read["input_ids"].shape[1])
        return self._completions(read, started=started, stopping_criteria=[ended])

    def _batch(self, chats: list[Chat]) -> list[Completion]:
        started = time.monotonic()
        return self._completions(self._read(chats), started=started)

    def _completions(self, read: Any, *, started: float, **stopping: Any) -> list[Completion]:
        """What the model generates after each row of ``read``."""
        import torch

        sampling = {"do_sample": True, "temperature": self._config.temperature} if self._config.temperature else {}
        settings = {"do_sample": False, **sampling, "max_new_tokens": self._config.max_tokens, **stopping}
        with torch.inference_mode():
            written = self._model.generate(**read, **settings, pad_token_id=self._tokenizer.pad_token_id)
        new = written[:, read["input_ids"].shape[1] :]
        seconds = (time.monotonic() - started) / len(new)
        tokens_in = read["attention_mask"].sum(dim=1).tolist()
        return [
            self._completion(row, tokens_in=count, seconds=seconds, line=bool(stopping))
            for row, count in zip(new, tokens_in, strict=True)
        ]

    def _read(self, chats: list[Chat]) -> Any:
        """Tokens (B, L), padded on the left, and pixels where there are pictures, on the model's device."""
        options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
        # Text in the data must never become a control token that marks a speaker.
        options["sanitize_control_tokens"] = True
        if self._config.pictures:
            read = self._reader.apply_chat_template(chats, **options, processor_kwargs={"padding": True})
            return read.to(self._model.device, dtype=self._model.dtype)
        texts = [_texts(chat) for chat in chats]
        return self._reader.apply_chat_template(texts, **options, padding=True).to(self._model.device)

    def _completion(self, row: torch.Tensor, *, tokens_in: int, seconds: float, line: bool) -> Completion:
        ends = self._model.generation_config.eos_token_id
        stops = {*(ends if isinstance(ends, list) else [ends]), self._tokenizer.pad_token_id}
        length = next((i for i, token in enumerate(row.tolist()) if token in stops), None)
        text, whole = self._tokenizer.decode(row[:length], skip_special_tokens=True), length is not None
        if line:
            text, end, _ = text.partition("\n")
            whole = whole or bool(end)
        tokens_out = len(row) if length is None else length + 1
        cost = WriterCost(tokens_in=tokens_in, tokens_out=tokens_out, seconds=seconds)
        return Completion(text=text, whole=whole, cost=cost)


class _EndOfLine:
    """A stopping criterion of ``generate``: each row ends with its first line.

    Args:
        tokenizer: That of the model.
        prompt: Number of tokens of a prompt with its padding.
    """

    def __init__(self, tokenizer: Any, *, prompt: int) -> None:
        self._tokenizer, self._prompt = tokenizer, prompt

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:  # noqa: ARG002 (a protocol)
        """(B,) bool: rows whose newest token holds the end of a line."""
        newest = self._tokenizer.batch_decode(input_ids[:, -1:]) if input_ids.shape[1] > self._prompt else []
        return input_ids.new_tensor(["\n" in token for token in newest]).bool()


def fingerprint(folder: Path) -> str:
    """Hash of a model folder: small files in full, of large files the size and samples, to stay fast."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    parts: list[str | bytes] = []
    for path in files:
        parts += [path.relative_to(folder).as_posix(), str(path.stat().st_size), _sampled(path)]
    return digest(*parts, length=12)


def _sampled(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as stream:
        if size <= _SAMPLE * _SAMPLES:
            return stream.read()
        samples = []
        for i in range(_SAMPLES):
            stream.seek((size - _SAMPLE) * i // (_SAMPLES - 1))
            samples.append(stream.read(_SAMPLE))
        return b"".join(samples)


def _has_picture(chat: Chat) -> bool:
    return any(part["type"] == "image" for turn in chat for part in turn["content"])


def _texts(chat: Chat) -> Chat:
    """The same with plain strings as contents, the only form that templates of text models accept."""
    return [{**turn, "content": "\n".join(part["text"] for part in turn["content"])} for turn in chat]
