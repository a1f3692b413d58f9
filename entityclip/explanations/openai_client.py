"""One chat completion from a server with the OpenAI chat API: limits its size and time, and classifies failures.

The OpenAI client retries with backoff and jitter, and honours Retry-After.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from entityclip.errors import ConfigError, faults
from entityclip.explanations.config import OpenAIConfig, SecondReaderConfig
from entityclip.explanations.prompting import Completion, tokens_about
from entityclip.explanations.source_writer import WriterCost

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

Message = dict[str, Any]
ChatConfig: TypeAlias = OpenAIConfig | SecondReaderConfig
"""A model on a server."""
MOST_BYTES = 4 * 2**20
"""Size limit of one response. A normal reply has a few thousand bytes."""
_REFUSED = {400, 413, 422}
_SHOWN = 300


class RequestFailed(Exception):
    """The connection or the server failed, even after retries. The next run sends the request again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.cost = WriterCost()
        """Cost of the failed request."""


class RequestRefused(RequestFailed):
    """The server rejects this request permanently."""


class ServerUnusable(RequestFailed):
    """The server rejects every request: unknown model, missing permission."""


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: NonNegativeInt
    completion_tokens: NonNegativeInt = 0


class _ChatCompletion(BaseModel):
    """The required fields of a response. The client library does not validate them."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def key_from(variable: str) -> str:
    """The API key in an environment variable; "none" if no variable is named.

    Raises:
        ConfigError: The variable is not set, or its value cannot be sent in a header.
    """
    if not variable:
        return "none"
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"api_key_env: the environment variable {variable} holds no key; export it")
    return key


def require_server(config: ChatConfig) -> str:
    """The host of the server; sends nothing.

    Raises:
        ConfigError: The host is not allowed, or the environment variable of the key is not set.
    """
    key_from(config.api_key_env)
    return config.hosts.require(config.base_url)


def cost_of(tokens_in: int, tokens_out: int, *, config: ChatConfig) -> WriterCost:
    """Token counts and their cost by the configured prices."""
    money = (tokens_in * config.price_in + tokens_out * config.price_out) / 1e6
    return WriterCost(tokens_in=tokens_in, tokens_out=tokens_out, money=money)


def client_for(config: ChatConfig) -> AsyncOpenAI:
    """A client that enforces the host policy. Create it inside the event loop that uses it."""
    from openai import AsyncOpenAI, omit

    return AsyncOpenAI(
        base_url=config.base_url,
        api_key=key_from(config.api_key_env),
        max_retries=config.retries,
        timeout=config.timeout,
        http_client=config.hosts.client(config.base_url, timeout=config.timeout),  # type: ignore[arg-type]
        # Otherwise the library sends the OpenAI account of the environment to every server.
        default_headers={"OpenAI-Organization": omit, "OpenAI-Project": omit},  # type: ignore[dict-item]
    )


async def complete(
    client: AsyncOpenAI, messages: list[Message], *, config: ChatConfig, schema: dict[str, Any]
) -> Completion:
    """The completion of ``messages``, of a reply with this JSON schema. A response that breaks off is requested once
    more.

    Raises:
        RequestFailed: There is no usable response; the subclass tells whether another request may succeed.
    """
    try:
        return await _once(client, messages, config=config, schema=schema)
    except _BrokenOff:
        return await _once(client, messages, config=config, schema=schema)


class _BrokenOff(RequestFailed):
    """The response started but is incomplete."""


async def _once(
    client: AsyncOpenAI, messages: list[Message], *, config: ChatConfig, schema: dict[str, Any]
) -> Completion:
    import openai

    try:
        body = await _body(client, messages, config=config, schema=schema)
    except openai.APIStatusError as error:
        raise _failure(error, key=client.api_key) from None
    except openai.OpenAIError as error:
        reason = error.__cause__ or error
        raise RequestFailed(f"{type(error).__name__}: {_shown(str(reason) or type(reason).__name__)}") from None
    try:
        response = _ChatCompletion.model_validate_json(body)
    except ValidationError as error:
        raise _BrokenOff(f"the response is not a chat completion: {_shown(faults(error))}") from None
    choice, usage = response.choices[0], response.usage
    text = choice.message.content or ""
    if usage is None:  # the budget must also hold with servers that report no usage
        usage = _Usage(prompt_tokens=tokens_about(text_of(messages)), completion_tokens=tokens_about(text))
    cost = cost_of(usage.prompt_tokens, usage.completion_tokens, config=config)
    return Completion(text=text, whole=choice.finish_reason != "length", cost=cost)


async def _body(client: AsyncOpenAI, messages: list[Message], *, config: ChatConfig, schema: dict[str, Any]) -> bytes:
    """The response body. The client library waits for the headers, with retries."""
    import httpx

    options: dict[str, Any] = {"temperature": config.temperature, config.token_limit: config.max_tokens}
    if config.structured:
        options["response_format"] = {"type": "json_schema", "json_schema": schema}
    create = client.chat.completions.with_streaming_response.create
    async with create(model=config.model, messages=messages, **options) as response:  # type: ignore[arg-type]
        body = bytearray()
        try:
            async with asyncio.timeout(config.timeout):
                async for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MOST_BYTES:
                        raise RequestFailed(f"the response does not end; {len(body):,} bytes were read")
        except TimeoutError:
            raise RequestFailed(f"the response did not end within {config.timeout:g} s") from None
        except httpx.HTTPError as error:
            raise _BrokenOff(f"the response broke off: {_shown(str(error) or type(error).__name__)}") from None
    return bytes(body)


def _failure(error: APIStatusError, *, key: str) -> RequestFailed:
    """The failure that a status stands for. The API key is removed, since some servers repeat it in messages."""
    message = f"status {error.status_code}: {_shown(str(error.message).replace(key, '***'))}"
    if error.status_code in _REFUSED:
        return RequestRefused(message)
    if 300 <= error.status_code < 500 and error.status_code not in (408, 409, 429):
        return ServerUnusable(message)
    return RequestFailed(message)


def _shown(text: str) -> str:
    """``text`` on one line and shortened, for a message."""
    return " ".join(text.split())[:_SHOWN]


def text_of(messages: list[Message]) -> str:
    """All text in ``messages``, without pictures."""
    contents = (message["content"] for message in messages)
    parts = ([{"text": c}] if isinstance(c, str) else c for c in contents)
    return "\n".join(part["text"] for some in parts for part in some if "text" in part)
