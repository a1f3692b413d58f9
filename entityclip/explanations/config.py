"""Who writes explanations, as people set it: the section ``explain`` of ``entityclip.yaml``, or a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from entityclip.errors import ConfigError, faults
from entityclip.explanations.egress_policy import HostPolicy
from entityclip.explanations.prompt import Domain
from entityclip.explanations.rules import DomainRules
from entityclip.explanations.source_writer import SourceWriter, Writer
from entityclip.schemas import Record


class SourceConfig(Record):
    """The texts that the source provides, word for word."""

    writer: Literal["source"] = "source"


class GenerationConfig(Record):
    """What every language model is told."""

    model: str = Field(min_length=1, description="The model's name on its server, or its folder.")
    domain: Domain = Field(default="product", description="Which prompts: product, news or free.")
    rules: DomainRules = Field(default=DomainRules(), description="What texts must say, must not say, and how.")
    pictures: bool = Field(default=False, description="Show the model a picture of each thing; it has to take them.")
    most_tokens: int = Field(default=400, ge=16, description="Most tokens of one reply.")
    temperature: float = Field(default=0.0, ge=0, le=2, description="How freely words are drawn; 0: the likeliest.")


class TransformersConfig(GenerationConfig):
    """A chat model or a vision-language model in a folder of this machine; nothing is ever fetched."""

    writer: Literal["transformers"] = "transformers"
    batch: int = Field(default=8, ge=1, description="Prompts that the model works on at once.")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        default="auto", description="Numbers that the weights are held in; auto: as they were saved."
    )
    device_map: str = Field(default="auto", description="Where the layers go: auto, cpu, cuda:0 ...")


class OpenAIConfig(GenerationConfig):
    """A server that speaks OpenAI's chat interface: vLLM, Ollama, llama.cpp, a cloud."""

    writer: Literal["openai"] = "openai"
    base_url: str = Field(description="Address of the interface, as in http://127.0.0.1:8000/v1.")
    hosts: HostPolicy = Field(default=HostPolicy(), description="Where texts may be sent.")
    redact: bool = Field(default=True, description="Take personal data out of what is sent.")
    person_models: dict[str, Path] = Field(
        default={}, description="Language -> folder of a spaCy pipeline; names of persons are taken out by it."
    )
    api_key_env: str = Field(default="", description="Environment variable that holds the key; empty: no key.")
    at_once: int = Field(default=16, ge=1, le=1024, description="Requests in flight.")
    retries: int = Field(default=5, ge=0, description="Further attempts after 429, 5xx or a broken connection.")
    timeout: float = Field(default=120.0, gt=0, description="Seconds that one attempt may take in all.")
    structured: bool = Field(default=True, description="Have the server hold the model to the reply's JSON schema.")
    token_limit: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="What the server calls the most tokens of a reply."
    )
    price_in: float = Field(default=0.0, ge=0, description="Price of a million tokens that are sent.")
    price_out: float = Field(default=0.0, ge=0, description="Price of a million tokens that are written.")
    budget_tokens: int | None = Field(default=None, ge=1, description="Most tokens of one run, both ways.")
    budget_money: float | None = Field(default=None, gt=0, description="Most money of one run, by the prices.")


WriterConfig = Annotated[SourceConfig | TransformersConfig | OpenAIConfig, Field(discriminator="writer")]
_ANY: TypeAdapter[SourceConfig | TransformersConfig | OpenAIConfig] = TypeAdapter(WriterConfig)


def writer_config(settings: dict[str, Any], *, origin: str) -> SourceConfig | TransformersConfig | OpenAIConfig:
    """The settings as a config; ``origin`` says in errors where they stand.

    Raises:
        ConfigError: An unknown setting or an impossible value; names each one.
    """
    try:
        return _ANY.validate_python({"writer": "source", **settings})
    except ValidationError as error:
        raise ConfigError(f"{origin}: {faults(error)}") from None


def read_writer_settings(path: Path) -> dict[str, Any]:
    """The settings of a writer in the YAML file ``path``.

    Raises:
        ConfigError: There is no such file, or it holds no YAML mapping.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from None
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ConfigError(f"{path}: expected settings like 'writer: openai', one a line")
    return settings


def open_writer(config: SourceConfig | TransformersConfig | OpenAIConfig, *, ledger: Path) -> Writer:
    """The writer that ``config`` describes. ``ledger`` also holds the audit of what is sent.

    Raises:
        ConfigError: A folder, an address or a key is missing or not allowed.
    """
    if isinstance(config, SourceConfig):
        return SourceWriter()
    if isinstance(config, TransformersConfig):
        from entityclip.explanations.transformers_writer import TransformersWriter

        return TransformersWriter(config)
    from entityclip.explanations.openai_writer import OpenAIWriter

    return OpenAIWriter(config, ledger=ledger)
