"""Settings of the writer of explanations: section ``explain`` of ``entityclip.yaml``, or a separate YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from entityclip.errors import ConfigError, faults
from entityclip.explanations.egress_policy import HostPolicy
from entityclip.explanations.prompt import Domain
from entityclip.explanations.rules import DomainRules
from entityclip.schemas import Record
from entityclip.schemas.renamed import refuse_renamed

RENAMED = {
    "most_tokens": "max_tokens",
    "at_once": "max_concurrency",
    "rules.shortest": "rules.min_chars",
    "rules.longest": "rules.max_chars",
}
"""Old name of a setting -> its name now."""


class SourceConfig(Record):
    """The texts that the source provides, verbatim."""

    writer: Literal["source"] = "source"


class GenerationConfig(Record):
    """Settings that all language models share."""

    model: str = Field(min_length=1, description="Name of the model on its server, or its folder.")
    domain: Domain = Field(default="product", description="Set of prompts: product, news or free.")
    rules: DomainRules = Field(default=DomainRules(), description="Rules for content, wording and length of the texts.")
    pictures: bool | None = Field(
        default=None,
        description="Send pictures of each entity; the model must accept pictures. Empty: a model of this machine gets "
        "them if it accepts them, a server gets none.",
    )
    max_pictures: int = Field(default=3, ge=1, le=16, description="Maximum number of pictures in one request.")
    max_tokens: int = Field(default=400, ge=16, description="Maximum number of tokens in one reply.")
    temperature: float = Field(default=0.0, ge=0, le=2, description="Sampling temperature; 0 is greedy.")


class TransformersConfig(GenerationConfig):
    """A chat, vision-language or base model in a local folder; nothing is downloaded."""

    writer: Literal["transformers"] = "transformers"
    gguf_file: str = Field(
        default="",
        pattern=r"^([^/\\]+\.gguf)?$",
        description="Name of a GGUF file in the folder, which holds weights and tokenizer; needs the package gguf.",
    )
    few_shot: Path | None = Field(
        default=None,
        description="YAML file of examples for a base model, which continues a text instead of answering requests.",
    )
    batch: int = Field(default=8, ge=1, description="Prompts in one batch.")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        default="auto", description="Data type of the weights; auto: as saved."
    )
    device_map: str = Field(default="auto", description="Device of the layers: auto, cpu, cuda:0 ...")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.pictures and (self.gguf_file or self.few_shot):
            raise ValueError("pictures cannot be combined with gguf_file or few_shot; set pictures to false")
        return self


class ServerConfig(Record):
    """A server with the OpenAI chat API: where it is, what may be sent to it, and what it may cost."""

    base_url: str = Field(description="Base URL of the API, such as http://127.0.0.1:8000/v1.")
    hosts: HostPolicy = Field(default=HostPolicy(), description="Hosts that texts may be sent to.")
    redact: bool = Field(default=True, description="Redact personal data before sending.")
    person_models: dict[str, Path] = Field(
        default={}, description="Language -> folder of a spaCy pipeline that finds names of persons to redact."
    )
    api_key_env: str = Field(default="", description="Environment variable that holds the API key; empty: no key.")
    max_concurrency: int = Field(default=16, ge=1, le=1024, description="Maximum number of requests in flight.")
    retries: int = Field(default=5, ge=0, description="Retries after status 429, 5xx or a connection error.")
    timeout: float = Field(default=120.0, gt=0, description="Timeout of one attempt in seconds.")
    structured: bool = Field(default=True, description="Let the server enforce the JSON schema of the reply.")
    token_limit: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="Name of the request field for the maximum number of tokens."
    )
    price_in: float = Field(default=0.0, ge=0, description="Price of a million input tokens.")
    price_out: float = Field(default=0.0, ge=0, description="Price of a million output tokens.")
    budget_tokens: int | None = Field(default=None, ge=1, description="Token budget of one run, input and output.")
    budget_money: float | None = Field(
        default=None, gt=0, description="Cost budget of one run, by the configured prices."
    )


class OpenAIConfig(GenerationConfig, ServerConfig):
    """A writer on a server with the OpenAI chat API: vLLM, Ollama, llama.cpp or a cloud service."""

    writer: Literal["openai"] = "openai"


class SecondReaderConfig(ServerConfig):
    """A vision-language model on a server that checks claims against pictures, beside the model in service."""

    model: str = Field(min_length=1, description="Name of the model on its server.")
    contradicted_by: Literal["one", "both"] = Field(
        default="one",
        description="A claim is contradicted where one of the readers contradicts it, or only where both do.",
    )
    most_texts: int = Field(
        default=500,
        ge=1,
        description="Texts that a run sends at most, a drawn sample and those with a contradicted claim first.",
    )
    max_pictures: int = Field(default=3, ge=1, le=16, description="Maximum number of pictures in one request.")
    max_tokens: int = Field(default=400, ge=16, description="Maximum number of tokens in one reply.")
    temperature: float = Field(default=0.0, ge=0, le=2, description="Sampling temperature; 0 is greedy.")


class CustomConfig(Record):
    """A writer of your own, see ``examples/custom_writer.py``."""

    writer: Literal["custom"] = "custom"
    factory: str = Field(
        pattern=r"^[\w.]+:\w+$", description="Import path of its class, as package.module:Class; its code is run."
    )
    options: dict[str, Any] = Field(default={}, description="Keyword arguments for the class.")


AnyConfig: TypeAlias = SourceConfig | TransformersConfig | OpenAIConfig | CustomConfig
WriterConfig = Annotated[AnyConfig, Field(discriminator="writer")]
_ANY: TypeAdapter[AnyConfig] = TypeAdapter(WriterConfig)


def writer_config(settings: dict[str, Any], *, origin: str) -> AnyConfig:
    """Validate the settings; ``origin`` names their file in errors.

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
        ConfigError: The file is missing, is not a YAML mapping, or has a renamed setting.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from None
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ConfigError(f"{path}: expected settings like 'writer: openai', one per line")
    refuse_renamed(settings, RENAMED, where=path)
    return settings
