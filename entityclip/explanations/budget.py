"""Cost and failure counts of one run with a server; decides whether the run continues."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future

from entityclip.errors import BudgetSpent, WriterError
from entityclip.explanations.openai_client import ChatConfig, RequestFailed, RequestRefused, ServerUnusable
from entityclip.explanations.source_writer import WriterAnswer, WriterCost
from entityclip.schemas import ExplanationRequest

MIN_FAILURES_IN_A_ROW = 5


class Budget:
    """Counts costs and failures, and stops the run.

    A run stops if the next request could exceed the budget, if the server is unusable, or if as many requests failed
    in a row as may be in flight. If the server refuses a request, its answer is rejected; if it refuses every request,
    the settings are wrong and the run fails.
    """

    def __init__(self, config: ChatConfig) -> None:
        self._config = config
        self._spent = WriterCost()
        self._answered = self._failed = self._in_a_row = 0
        self._last = ""
        self._refused: list[WriterAnswer] = []
        self._stop: WriterError | None = None

    @property
    def can_continue(self) -> bool:
        """Whether another request may be sent."""
        return self._stop is None

    def affords(self, expected: WriterCost, *, in_flight: Iterable[WriterCost]) -> bool:
        """Whether a request fits into the budget beside what was spent and is in flight; if not, the run stops."""
        total = sum(in_flight, self._spent + expected)
        tokens, money = self._config.budget_tokens, self._config.budget_money
        if tokens is not None and total.tokens_in + total.tokens_out > tokens:
            self._stop = BudgetSpent(f"the budget of {tokens:,} tokens is used up; {self._so_far()}")
        elif money is not None and total.money > money:
            self._stop = BudgetSpent(f"the budget of {money:g} is used up; {self._so_far()}")
        return self.can_continue

    def collect(self, request: ExplanationRequest, done: Future[WriterAnswer]) -> Iterator[WriterAnswer]:
        """Yield the answer to ``request``, if any; after the first answer also the rejected requests so far."""
        try:
            answer = done.result()
        except RequestRefused as refusal:
            self._note(refusal)
            self._refused.append(WriterAnswer(request=request, cost=refusal.cost, rejected=str(refusal)))
        except RequestFailed as failure:
            self._failed += 1
            self._note(failure)
        else:
            self._spent += answer.cost
            self._answered, self._in_a_row = self._answered + 1, 0
            yield answer
        if self._answered:
            yield from self._refused
            self._refused.clear()

    def _note(self, failure: RequestFailed) -> None:
        self._spent += failure.cost
        self._last = str(failure)
        # A rejected request is not a server failure as long as others are answered.
        self._in_a_row += not (isinstance(failure, RequestRefused) and self._answered)
        exhausted = self._in_a_row >= max(MIN_FAILURES_IN_A_ROW, self._config.max_concurrency)
        if self._stop is None and (isinstance(failure, ServerUnusable) or exhausted):
            self._stop = WriterError(f"{self._config.base_url}: {self._last}; {self._so_far()}")

    def finish(self) -> None:
        """Raise if the run is incomplete.

        Raises:
            WriterError: The run was stopped, or some requests have no answer.
        """
        if self._stop is not None:
            raise self._stop
        if self._refused:
            raise WriterError(
                f"{self._config.base_url}: refuses every request: {self._last}; check the settings of this server"
            )
        if self._failed:
            failed = f"{self._failed:,} requests have no answer, the last one because: {self._last}"
            raise WriterError(f"{self._config.base_url}: {failed}")

    def _so_far(self) -> str:
        spent = f"{self._spent.tokens_in + self._spent.tokens_out:,} tokens"
        return f"spent {spent}{f' and {self._spent.money:.4f}' if self._spent.money else ''} in this run"
