"""What a writer of explanations is, and the one that takes the texts that the data bring along."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from pydantic import Field

from entityclip.data.pairs import digest
from entityclip.schemas import ExplanationRecord, ExplanationRequest, Record


class WriterCost(Record):
    """What an answer took: tokens, seconds, money in the currency of the configured prices."""

    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    money: float = 0.0

    def __add__(self, other: WriterCost) -> WriterCost:
        return WriterCost(**{name: getattr(self, name) + getattr(other, name) for name in WriterCost.model_fields})


class WriterAnswer(Record):
    """What a writer said to one request. No text and nothing set aside: it has nothing to say about this entity."""

    request: ExplanationRequest
    records: tuple[ExplanationRecord, ...] = ()
    visible: tuple[str, ...] = Field(default=(), description="What can be seen on the thing, in the writer's words.")
    doubts: tuple[str, ...] = Field(default=(), description="What the writer was not sure of.")
    cost: WriterCost = WriterCost()
    set_aside: str = Field(default="", description="Why what was written cannot be used, even after a repair.")


class Writer(Protocol):
    """Writes texts about entities.

    ``generator`` names who writes and ``prompt_version`` how it was asked. The ledger keeps answers under both:
    change one of them whenever the texts would come out differently.
    """

    @property
    def generator(self) -> str:
        """Who writes: ``source``, or a model with its version."""

    @property
    def sees_pictures(self) -> bool:
        """Whether requests should carry a picture."""

    def prompt_version(self, request: ExplanationRequest) -> str:
        """How this request is asked."""

    def expected(self, request: ExplanationRequest) -> WriterCost:
        """About what the answer will cost, told without asking anybody."""

    def write(self, requests: Iterable[ExplanationRequest]) -> Iterator[WriterAnswer]:
        """Yield an answer to every request, in any order, as soon as it is there: each is kept at once.

        Requests are drawn as they are needed: there may be a million.

        Raises:
            WriterError: Some requests stay without an answer. Raised after the answers that did come.
        """


class SourceWriter:
    """Takes the texts that the data bring along, word for word."""

    generator = "source"
    sees_pictures = False

    def prompt_version(self, request: ExplanationRequest) -> str:  # noqa: ARG002
        """Always the same: nobody is asked."""
        return "verbatim"

    def expected(self, request: ExplanationRequest) -> WriterCost:  # noqa: ARG002
        """Nothing."""
        return WriterCost()

    def write(self, requests: Iterable[ExplanationRequest]) -> Iterator[WriterAnswer]:
        """Answer each request with the texts in its ``source_provided``, in their order."""
        for request in requests:
            yield WriterAnswer(
                request=request, records=tuple(record(request, text, writer=self) for text in request.source_provided)
            )


def record(request: ExplanationRequest, text: str, *, writer: Writer) -> ExplanationRecord:
    """``text`` as ``writer``'s answer to ``request``; the id is a hash of everything else."""
    about = {"entity_id": request.entity_id, "caption": request.caption, "text": text, "language": request.language}
    origin = {"generator": writer.generator, "prompt_version": writer.prompt_version(request)}
    return ExplanationRecord(explanation_id=digest("explanation", *about.values(), *origin.values()), **about, **origin)
