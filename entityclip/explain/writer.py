"""What a writer of explanations is, and the one that takes the texts that the data bring along."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from entityclip.pairs import digest
from entityclip.records import ExplanationRecord, ExplanationRequest

Answer = tuple[ExplanationRequest, tuple[ExplanationRecord, ...]]
"""A request with all of its texts. No text is an answer too: the writer has nothing to say about this entity."""


class Writer(Protocol):
    """Writes texts about entities.

    ``generator`` names who writes and ``prompt_version`` how it was asked. The ledger keeps answers under both:
    change one of them whenever the texts would come out differently.
    """

    @property
    def generator(self) -> str:
        """Who writes: ``source``, or a model with its version."""

    @property
    def prompt_version(self) -> str:
        """How it was asked."""

    def write(self, requests: Iterable[ExplanationRequest]) -> Iterator[Answer]:
        """Yield every request with its texts, in any order, as soon as they are there: each is kept at once."""


class BroughtWriter:
    """Takes the texts that the data bring along, word for word."""

    generator = "source"
    prompt_version = "verbatim"

    def write(self, requests: Iterable[ExplanationRequest]) -> Iterator[Answer]:
        """Answer each request with the texts in its ``brought``, in their order."""
        for request in requests:
            yield request, tuple(record(request, text, writer=self) for text in request.brought)


def record(request: ExplanationRequest, text: str, *, writer: Writer) -> ExplanationRecord:
    """``text`` as ``writer``'s answer to ``request``; the id is a hash of everything else."""
    about = {"entity_id": request.entity_id, "caption": request.caption, "text": text, "language": request.language}
    origin = {"generator": writer.generator, "prompt_version": writer.prompt_version}
    return ExplanationRecord(explanation_id=digest("explanation", *about.values(), *origin.values()), **about, **origin)
