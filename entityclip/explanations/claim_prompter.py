"""The question to a vision-language model whether pictures show what a text claims."""

from __future__ import annotations

from typing import Any

from entityclip.data.pairs import digest
from entityclip.explanations.config import SecondReaderConfig
from entityclip.explanations.prompt import Prompt, as_data, one_line, prompt_source, render_blocks
from entityclip.explanations.prompting import BasePrompter, Completion
from entityclip.explanations.reply import ReplyFault, answers_schema, read_answers
from entityclip.explanations.source_writer import Writer, WriterAnswer, record
from entityclip.schemas import ExplanationRecord, ExplanationRequest

_SEPARATOR = "; "


class ClaimPrompter(BasePrompter):
    """Queries the claims of a text; see ``claim_request``. The text of an answer is read by ``answers_of``."""

    def __init__(self, config: SecondReaderConfig) -> None:
        super().__init__(max_tokens=config.max_tokens)
        self._settings = config.model_dump_json(include={"max_tokens", "temperature"})

    def prompt_version(self, request: ExplanationRequest) -> str:
        """Name of the prompt and a hash of its text and of every setting that changes the request."""
        name = _name(request)
        return f"{name}-{digest(prompt_source(name), self._settings, repr(answers_schema()), length=12)}"

    def prompt(self, request: ExplanationRequest) -> Prompt:
        """Category, text and claims: the name of the entity would tell what to expect."""
        text, *claims = map(one_line, request.source_provided)
        known = {"category": one_line(request.category)} if request.category else {}
        numbered = {str(number): claim for number, claim in enumerate(claims, 1)}
        data = as_data({**known, "text": text, "claims": numbered})
        return render_blocks(
            _name(request), {"data": data, "claims": len(claims), "pictures": len(request.pictures_sha256)}
        )

    def schema(self) -> dict[str, Any]:
        """Schema of the answers."""
        return answers_schema()

    def answer(self, request: ExplanationRequest, completion: Completion, *, writer: Writer) -> WriterAnswer:
        """Convert a completion into an answer. Raises like ``BasePrompter.answer``."""
        try:
            answers = read_answers(completion.text, claims=len(request.source_provided) - 1)
        except ReplyFault as fault:
            raise ReplyFault(f"{fault}{self._cut_off(completion)}") from None
        records = (record(request, _SEPARATOR.join(answers), writer=writer),)
        return WriterAnswer(request=request, records=records, cost=completion.cost)


def claim_request(about: ExplanationRequest, *, text: str, language: str, claims: list[str]) -> ExplanationRequest:
    """The request about the ``claims`` of ``text``, such as ``colour: red``, with the pictures of ``about``."""
    update = {"entity": "", "caption": "", "language": language, "source_provided": (text, *claims)}
    return about.model_copy(update=update)


def answers_of(stored: tuple[ExplanationRecord, ...], *, claims: int) -> list[str]:
    """The answer on each claim; '' where the reply could not be used."""
    return list(stored[0].text.split(_SEPARATOR)) if stored else [""] * claims


def _name(request: ExplanationRequest) -> str:
    return f"claims.{'ja' if request.language == 'ja' else 'en'}.v1"
