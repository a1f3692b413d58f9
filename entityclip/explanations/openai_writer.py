"""A writer behind a server that speaks OpenAI's chat interface: vLLM, Ollama, llama.cpp, a cloud."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from entityclip.explanations.budget import Budget
from entityclip.explanations.config import OpenAIConfig
from entityclip.explanations.openai_client import cost_of, key_from
from entityclip.explanations.openai_conversation import Conversation
from entityclip.explanations.prompting import Prompter
from entityclip.explanations.source_writer import WriterAnswer, WriterCost
from entityclip.schemas import ExplanationRequest

Made = TypeVar("Made")
_Flying = dict[Future[WriterAnswer], tuple[ExplanationRequest, WriterCost]]
"""Requests that the server is at work on, each with what it is expected to cost."""


class OpenAIWriter:
    """Asks a server, many requests at once, within a budget.

    Args:
        config: Which server, how it is asked, and what it may cost.
        ledger: SQLite file that holds the audit of what is sent.

    Raises:
        ConfigError: The address may not be sent to, or the environment variable of the key is not set.
    """

    def __init__(self, config: OpenAIConfig, *, ledger: Path) -> None:
        config.hosts.require(config.base_url)
        key_from(config.api_key_env)
        self._config, self._ledger, self._prompter = config, ledger, Prompter(config)

    @property
    def generator(self) -> str:
        """``openai:`` and the model's name."""
        return f"openai:{self._config.model}"

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
        return cost_of(tokens_in, tokens_out, config=self._config)

    def write(self, requests: Iterable[ExplanationRequest]) -> Iterator[WriterAnswer]:
        """Answers in the order in which they arrive.

        Raises:
            BudgetSpent: The next request might pass the budget. Answers in flight were still waited for.
            WriterError: The server cannot be used, or some requests failed even after retries.
        """
        waiting, budget = iter(requests), Budget(self._config)
        flying: _Flying = {}
        with _Loop() as loop:
            conversation = loop.run(Conversation.begin(self._config, ledger=self._ledger, writer=self)).result()
            try:
                while True:
                    for request, expected in self._affordable(waiting, budget, flying):
                        opening = conversation.opening(request)
                        flying[loop.run(conversation.answer(request, opening))] = request, expected
                    if not flying:
                        break
                    for done in wait(flying, return_when=FIRST_COMPLETED).done:
                        yield from budget.collect(flying.pop(done)[0], done)
            finally:
                loop.cancel_all()
                loop.run(conversation.end()).result()
        budget.finish()

    def _affordable(
        self, waiting: Iterator[ExplanationRequest], budget: Budget, flying: _Flying
    ) -> Iterator[tuple[ExplanationRequest, WriterCost]]:
        """The next requests, while there is room and money for them; ``flying`` grows meanwhile."""
        while budget.can_continue and len(flying) < self._config.at_once:
            request = next(waiting, None)
            if request is None:
                return
            expected = self.expected(request)
            if budget.affords(expected, flying=(cost for _, cost in flying.values())):
                yield request, expected


class _Loop:
    """An event loop in a thread of its own, so that a caller may have one too."""

    def __enter__(self) -> _Loop:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="writer", daemon=True)
        self._thread.start()
        return self

    def run(self, task: Coroutine[Any, Any, Made]) -> Future[Made]:
        """Start ``task``."""
        return asyncio.run_coroutine_threadsafe(task, self._loop)

    def cancel_all(self) -> None:
        """End every task that still runs."""
        self.run(_cancel_others()).result()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
