"""Few-shot prompts: a base model, which answers no requests, continues a list of examples.

The examples are a YAML file: language, then entities with their texts. It is made from the texts of a workspace, and
edited there. A file stays the same from run to run, so that the answers in the ledger stay valid.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, RootModel, StringConstraints, ValidationError

from entityclip.data.pairs import digest, normalised
from entityclip.errors import ConfigError, DataError, faults
from entityclip.explanations.config import TransformersConfig
from entityclip.explanations.prompt import Domain, data_of, one_line, prompt_source, template_of
from entityclip.explanations.prompting import Completion, Prompter, tokens_about
from entityclip.explanations.reply import Reply, ReplyFault
from entityclip.schemas import ExplanationRequest, Record
from entityclip.storage import atomic_write

EXAMPLES = 3
"""Examples of a language that are taken from a workspace."""
POOL = 100
"""Entities of a language that they are chosen from."""
MOST_CHARACTERS = 300
"""Limit of each field of the data: base models that run on a processor are small, and lose the thread in long texts."""
_SUBJECTS: dict[tuple[Domain, str], str] = {
    ("product", "en"): "Products",
    ("news", "en"): "Subjects of press photographs",
    ("free", "en"): "Things",
    ("product", "ja"): "商品",
    ("news", "ja"): "報道写真の対象",
    ("free", "ja"): "物事",
}
_OF_THE_PROMPT = re.compile(r'(?:^|\W)(?:Data|Description): |データ: |説明文: |"\w+": |\{"|"\}')

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Example(Record):
    """An entity and the text that describes it."""

    name: Text
    caption: str = ""
    category: str = ""
    notes: str = Field(default="", description="What else is known: a text that the description may use.")
    text: Text = Field(description="The description, in one line.")


class Examples(RootModel[dict[str, tuple[Example, ...]]]):
    """Examples by ISO 639-1 code of their language."""

    def of(self, language: str) -> tuple[Example, ...]:
        """Those in ``language``."""
        return self.root.get(language, ())


def read_examples(path: Path) -> Examples:
    """The examples in the YAML file ``path``.

    Raises:
        ConfigError: The file is missing, is not YAML, or an example lacks a name or a text.
    """
    try:
        return Examples.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"few_shot: {path} cannot be read as YAML: {error}") from None
    except ValidationError as error:
        raise ConfigError(
            f"few_shot: {path}: {faults(error)}; expected languages, each with examples that have a name and a text"
        ) from None


def write_examples(path: Path, requests: Iterable[ExplanationRequest]) -> dict[str, int]:
    """Write examples from texts that the source provides: per language ``EXAMPLES`` entities, or all if it has fewer.

    Args:
        path: YAML file, replaced atomically.
        requests: What a writer gets; those without a text of the source are not used.

    Returns:
        Number of examples by language.

    Raises:
        DataError: No entity has a text of the source.
    """
    usable: dict[str, list[ExplanationRequest]] = {}
    for request in requests:
        if request.source_provided:
            usable.setdefault(request.language, []).append(request)
    if not usable:
        raise DataError(f"{path}: no entity has a text of the source to make an example from; write the file by hand")
    found = {language: [_example(request) for request in _chosen(some)] for language, some in sorted(usable.items())}
    head = "# Examples for a base model (few_shot), by language. The notes are what the description may use.\n"
    atomic_write(path, head + yaml.safe_dump(found, allow_unicode=True, sort_keys=False, width=110))
    return {language: len(some) for language, some in found.items()}


def _chosen(requests: list[ExplanationRequest]) -> list[ExplanationRequest]:
    """A few of ``POOL`` that a hash draws: of new categories while there are any, as unlike those before as possible.

    A small model repeats what all examples have in common, such as "no pattern", whatever the data state.
    """
    drawn = sorted(requests, key=lambda request: digest("example", request.entity_id))[:POOL]
    pool = [one.model_copy(update={"source_provided": _typical_first(one.source_provided)}) for one in drawn]
    chosen: list[ExplanationRequest] = []

    def likeness(request: ExplanationRequest) -> float:
        text = request.source_provided[0]
        return max((_shared(text, one.source_provided[0]) for one in chosen), default=0.0)

    while pool and len(chosen) < EXAMPLES:
        categories = {one.category for one in chosen if one.category}
        new = [one for one in pool if one.category not in categories] or pool
        chosen.append(min(new, key=likeness))
        pool = [one for one in pool if one.entity not in {each.entity for each in chosen}]
    return chosen


def _typical_first(texts: tuple[str, ...]) -> list[str]:
    """Those first that have most in common with the others: a text of another entity has the least."""
    return sorted(texts, key=lambda text: -sum(_shared(text, other) for other in texts))


def _shared(one: str, other: str) -> float:
    """Share of the runs of three characters that the texts have in common, 0 to 1."""
    runs, others = ({text[i : i + 3] for i in range(len(text) - 2)} for text in map(normalised, (one, other)))
    return len(runs & others) / max(1, len(runs | others))


def _example(request: ExplanationRequest) -> dict[str, str]:
    """The first text is the description, the next one is its notes."""
    text, *others = map(one_line, request.source_provided)
    known = {"name": request.entity, "caption": request.caption, "category": request.category}
    return {name: value for name, value in known.items() if value} | {"notes": "".join(others[:1]), "text": text}


class FewShotPrompter(Prompter):
    """Renders examples and one entity, and checks the line that the model adds.

    Raises:
        ConfigError: The file of examples cannot be read.
    """

    def __init__(self, config: TransformersConfig, path: Path) -> None:
        super().__init__(config)
        self._domain, self._path, self._examples = config.domain, path, read_examples(path)

    def prompt_version(self, request: ExplanationRequest) -> str:
        """Name of the prompt and a hash of its text, its examples and every setting that changes the request."""
        name, language = self._name(request), self._language(request)
        examples = Examples({language: self._examples.of(language)}).model_dump_json()
        return f"{name}-{digest(prompt_source(name), self._domain, examples, self._settings(), length=12)}"

    def text(self, request: ExplanationRequest) -> str:
        """The text to continue. An entity is no example of itself, unless it is the only one in the language.

        A request with a reason repeats one whose text was refused. A base model would copy the reason, so it gets the
        examples in reverse order instead: the last one weighs most.

        Raises:
            ConfigError: There is no example in the language of the text.
        """
        shown = self._others(request) or [*self._examples.of(self._language(request))]
        if not shown:
            language = self._language(request)
            raise ConfigError(f"few_shot: {self._path} has no example in {language!r} to describe {request.entity!r}")
        if request.reason:
            shown.reverse()
        context = {
            "subject": _SUBJECTS[self._domain, "ja" if self._language(request) == "ja" else "en"],
            "examples": [{"data": _data(_request(one)), "text": one_line(one.text)} for one in shown],
            "data": _data(request),
        }
        return template_of(self._name(request)).render(context).strip()

    def expected_tokens(self, request: ExplanationRequest) -> tuple[int, int]:
        """Estimated input tokens and maximum output tokens."""
        return tokens_about(self.text(request)), self._config.max_tokens

    def _read(self, request: ExplanationRequest, completion: Completion) -> Reply:
        text = one_line(completion.text)
        if not text:
            raise ReplyFault("text: is empty")
        if _OF_THE_PROMPT.search(text):
            raise ReplyFault("text: goes on with the prompt")
        if normalised(text) in {normalised(one.text) for one in self._others(request)}:
            raise ReplyFault("text: is that of an example")
        if not completion.whole:
            raise ReplyFault(f"text: has no end; it was cut off after {self._config.max_tokens} tokens")
        return Reply(text=text, visible=(), doubts=())

    def _others(self, request: ExplanationRequest) -> list[Example]:
        """The examples in the language of the text, without the entity itself."""
        return [one for one in self._examples.of(self._language(request)) if one.name != request.entity]

    def _name(self, request: ExplanationRequest) -> str:
        return f"few_shot.{'ja' if self._language(request) == 'ja' else 'en'}.v1"


def _request(example: Example) -> ExplanationRequest:
    known = example.model_dump(include={"caption", "category"})
    return ExplanationRequest(entity_id="", entity=example.name, source_provided=(example.notes,), **known)


def _data(request: ExplanationRequest) -> str:
    return data_of(request.model_copy(update={"reason": ""}), most_characters=MOST_CHARACTERS)
