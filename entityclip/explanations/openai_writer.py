"""A writer that uses a server with the OpenAI chat API: vLLM, Ollama, llama.cpp or a cloud service."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from entityclip.explanations.budget import Budget
from entityclip.explanations.openai_client import ChatConfig, cost_of, require_server
from entityclip.explanations.openai_conversation import Conversation
from entityclip.explanations.prompting import BasePrompter
from entityclip.explanations.source_writer import WriterAnswer, WriterCost
from entityclip.schemas import ExplanationRequest

Result = TypeVar("Result")
_InFlight = dict[Future[WriterAnswer], tuple[ExplanationRequest, WriterCost]]
"""Requests that the server is processing, each with its expected cost."""


class OpenAIWriter:
    """Sends requests to a server concurrently, within a budget.

    Args:
        config: Server, generation settings and budget.
        prompter: Renders requests and reads replies.
        pictures: How many pictures a request carries at most.
        ledger: SQLite file that holds the audit log.

    Raises:
        ConfigError: The host is not allowed, or the environment variable of the key is not set.
    """

    def __init__(self, config: ChatConfig, *, prompter: BasePrompter, pictures: int, ledger: Path) -> None:
        require_server(config)
        self._config, self._ledger, self._prompter, self._pictures = config, ledger, prompter, pictures

    @property
    def generator(self) -> str:
        """``openai:`` and the name of the model."""
        return f"openai:{self._config.model}"

    @property
    def sees_pictures(self) -> int:
        """As its settings say."""
        return self._pictures

    def prompt_version(self, request: ExplanationRequest) -> str:
        """Name of the prompt and a hash of everything that changes the request."""
        return self._prompter.prompt_version(request)

    def expected(self, request: ExplanationRequest) -> WriterCost:
        """Estimated prompt tokens and the maximum of reply tokens, without repairs."""
        tokens_in, tokens_out = self._prompter.expected_tokens(request)
        return cost_of(tokens_in, tokens_out, config=self._config)

    def write(self, requests: Iterable[ExplanationRequest]) -> Iterator[WriterAnswer]:
        """Yield answers in the order in which they arrive.

        Raises:
            BudgetSpent: The next request could exceed the budget. Raised after the answers in flight have arrived.
            WriterError: The server cannot be used, or some requests failed even after retries.
        """
        waiting, budget = iter(requests), Budget(self._config)
        in_flight: _InFlight = {}
        with _Loop() as loop:
            conversation = loop.run(self._conversation()).result()
            try:
                while True:
                    for request, expected in self._affordable(waiting, budget, in_flight):
                        opening = conversation.opening(request)
                        in_flight[loop.run(conversation.answer(request, opening))] = request, expected
                    if not in_flight:
                        break
                    for done in wait(in_flight, return_when=FIRST_COMPLETED).done:
                        yield from budget.collect(in_flight.pop(done)[0], done)
            finally:
                loop.cancel_all()
                loop.run(conversation.end()).result()
        budget.finish()

    def _conversation(self) -> Coroutine[Any, Any, Conversation]:
        return Conversation.begin(self._config, prompter=self._prompter, ledger=self._ledger, writer=self)

    def _affordable(
        self, waiting: Iterator[ExplanationRequest], budget: Budget, in_flight: _InFlight
    ) -> Iterator[tuple[ExplanationRequest, WriterCost]]:
        """The next requests, up to the concurrency limit and the budget; the caller adds them to ``in_flight``."""
        while budget.can_continue and len(in_flight) < self._config.max_concurrency:
            request = next(waiting, None)
            if request is None:
                return
            expected = self.expected(request)
            if budget.affords(expected, in_flight=(cost for _, cost in in_flight.values())):
                yield request, expected


class _Loop:
    """An event loop in its own thread, so that the caller may run one too."""

    def __enter__(self) -> _Loop:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="writer", daemon=True)
        self._thread.start()
        return self

    def run(self, task: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Start ``task``."""
        return asyncio.run_coroutine_threadsafe(task, self._loop)

    def cancel_all(self) -> None:
        """Cancel every running task."""
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
