"""The writer protocol, and the writer that returns the texts of the source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from pydantic import Field

from entityclip.data.pairs import digest
from entityclip.schemas import ExplanationRecord, ExplanationRequest, Record


class WriterCost(Record):
    """Cost of an answer: tokens, seconds, money in the currency of the configured prices."""

    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    money: float = 0.0

    def __add__(self, other: WriterCost) -> WriterCost:
        return WriterCost(**{name: getattr(self, name) + getattr(other, name) for name in WriterCost.model_fields})


class WriterAnswer(Record):
    """The answer of a writer to one request. Neither texts nor ``rejected``: the writer has no text for the entity."""

    request: ExplanationRequest
    records: tuple[ExplanationRecord, ...] = ()
    visible: tuple[str, ...] = Field(
        default=(), description="Visible features of the entity, in the words of the writer."
    )
    doubts: tuple[str, ...] = Field(default=(), description="Points that the writer is not sure of.")
    cost: WriterCost = WriterCost()
    rejected: str = Field(default="", description="Why the reply cannot be used, even after a repair.")


class Writer(Protocol):
    """Writes texts about entities.

    ``generator`` names the writer and ``prompt_version`` the form of the request. The ledger stores answers under both:
    change one of them whenever the texts would differ.
    """

    @property
    def generator(self) -> str:
        """Name of the writer: ``source``, or a model with its version."""

    @property
    def sees_pictures(self) -> int:
        """How many pictures of its entity a request carries at most; true stands for one, false for none."""

    def prompt_version(self, request: ExplanationRequest) -> str:
        """Version of the prompt for this request."""

    def expected(self, request: ExplanationRequest) -> WriterCost:
        """Estimated cost of the answer; sends no request."""

    def write(self, requests: Iterable[ExplanationRequest]) -> Iterator[WriterAnswer]:
        """Yield an answer to every request, in any order, as soon as it arrives; the caller stores each at once.

        Requests are consumed lazily: there may be a million.

        Raises:
            WriterError: Some requests have no answer. Raised after all answers that arrived.
        """


class SourceWriter:
    """Returns the texts that the source provides, verbatim."""

    generator = "source"
    sees_pictures = False

    def prompt_version(self, request: ExplanationRequest) -> str:  # noqa: ARG002
        """Always ``verbatim``."""
        return "verbatim"

    def expected(self, request: ExplanationRequest) -> WriterCost:  # noqa: ARG002
        """No cost."""
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
