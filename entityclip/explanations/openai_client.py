"""One exchange with a server that speaks OpenAI's chat interface: bounded, checked, its failures told apart.

Retries with backoff and jitter, and Retry-After, are the OpenAI client's.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from entityclip.errors import ConfigError, faults
from entityclip.explanations.config import OpenAIConfig
from entityclip.explanations.prompting import Completion, tokens_about
from entityclip.explanations.reply import reply_schema
from entityclip.explanations.source_writer import WriterCost

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

Message = dict[str, Any]
MOST_BYTES = 4 * 2**20
"""Of one response. A reply has a few thousand; what does not end is not waited for."""
_REFUSED = {400, 413, 422}
_SHOWN = 300


class RequestFailed(Exception):
    """A request has no answer: the connection or the server failed, even after retries. Asked again next time."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.cost = WriterCost()
        """What was spent on it all the same."""


class RequestRefused(RequestFailed):
    """The server does not take this request, however often it comes."""


class ServerUnusable(RequestFailed):
    """The server takes no request at all: no such model, no right to use it."""


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: NonNegativeInt
    completion_tokens: NonNegativeInt = 0


class _Response(BaseModel):
    """What is needed of a response. The client library would pass on anything."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def key_from(variable: str) -> str:
    """The key in an environment variable; a word that stands for none where no variable is named.

    Raises:
        ConfigError: It is not set, or holds what no header can carry.
    """
    if not variable:
        return "none"
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"api_key_env: the environment variable {variable} holds no key; export it")
    return key


def cost_of(tokens_in: int, tokens_out: int, *, config: OpenAIConfig) -> WriterCost:
    """Tokens with what they cost by the configured prices."""
    money = (tokens_in * config.price_in + tokens_out * config.price_out) / 1e6
    return WriterCost(tokens_in=tokens_in, tokens_out=tokens_out, money=money)


def client_for(config: OpenAIConfig) -> AsyncOpenAI:
    """A client that keeps to the host policy. Make it inside the event loop that uses it."""
    from openai import AsyncOpenAI, omit

    return AsyncOpenAI(
        base_url=config.base_url,
        api_key=key_from(config.api_key_env),
        max_retries=config.retries,
        timeout=config.timeout,
        http_client=config.hosts.client(config.base_url, timeout=config.timeout),  # type: ignore[arg-type]
        # Otherwise the library tells every server what the environment says about an account elsewhere.
        default_headers={"OpenAI-Organization": omit, "OpenAI-Project": omit},  # type: ignore[dict-item]
    )


async def complete(client: AsyncOpenAI, messages: list[Message], *, config: OpenAIConfig) -> Completion:
    """What the model says to ``messages``. An answer that breaks off is asked for once more.

    Raises:
        RequestFailed: There is no usable response; the subclass says whether another request could have one.
    """
    try:
        return await _once(client, messages, config=config)
    except _BrokenOff:
        return await _once(client, messages, config=config)


class _BrokenOff(RequestFailed):
    """The response began, but does not end as one."""


async def _once(client: AsyncOpenAI, messages: list[Message], *, config: OpenAIConfig) -> Completion:
    import openai

    try:
        body = await _body(client, messages, config=config)
    except openai.APIStatusError as error:
        raise _failure(error, key=client.api_key) from None
    except openai.OpenAIError as error:
        reason = error.__cause__ or error
        raise RequestFailed(f"{type(error).__name__}: {_shown(str(reason) or type(reason).__name__)}") from None
    try:
        response = _Response.model_validate_json(body)
    except ValidationError as error:
        raise _BrokenOff(f"the response is not a chat completion: {_shown(faults(error))}") from None
    choice, usage = response.choices[0], response.usage
    text = choice.message.content or ""
    if usage is None:  # a budget has to hold with servers that do not count, too
        usage = _Usage(prompt_tokens=tokens_about(text_of(messages)), completion_tokens=tokens_about(text))
    cost = cost_of(usage.prompt_tokens, usage.completion_tokens, config=config)
    return Completion(text=text, whole=choice.finish_reason != "length", cost=cost)


async def _body(client: AsyncOpenAI, messages: list[Message], *, config: OpenAIConfig) -> bytes:
    """The response's body. Its header is waited for by the client library, with retries."""
    import httpx

    asked: dict[str, Any] = {"temperature": config.temperature, config.token_limit: config.most_tokens}
    if config.structured:
        asked["response_format"] = {"type": "json_schema", "json_schema": reply_schema()}
    create = client.chat.completions.with_streaming_response.create
    async with create(model=config.model, messages=messages, **asked) as response:  # type: ignore[arg-type]
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
    """What a status means; the key is cut out of the message, since some servers repeat it."""
    message = f"status {error.status_code}: {_shown(str(error.message).replace(key, '***'))}"
    if error.status_code in _REFUSED:
        return RequestRefused(message)
    if 300 <= error.status_code < 500 and error.status_code not in (408, 409, 429):
        return ServerUnusable(message)
    return RequestFailed(message)


def _shown(text: str) -> str:
    """``text`` on one line and not too long, for a message."""
    return " ".join(text.split())[:_SHOWN]


def text_of(messages: list[Message]) -> str:
    """All text in ``messages``, without pictures."""
    contents = (message["content"] for message in messages)
    parts = ([{"text": c}] if isinstance(c, str) else c for c in contents)
    return "\n".join(part["text"] for some in parts for part in some if "text" in part)
