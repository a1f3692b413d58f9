"""A second reader of claims: a vision-language model on a server answers whether the pictures show them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from entityclip.data.pairs import digest
from entityclip.data.rights import DEFAULT_RIGHTS, Rights
from entityclip.explanations.claim_prompter import ClaimPrompter, answers_of, claim_request
from entityclip.explanations.config import SecondReaderConfig
from entityclip.explanations.ledger import Ledger, key_of
from entityclip.explanations.openai_writer import OpenAIWriter
from entityclip.explanations.stage import send_missing
from entityclip.explanations.work_items import Requests
from entityclip.paths import DataLayout
from entityclip.schemas import ExplanationRequest

AGREEMENT_TEXTS = 100
"""Texts drawn whatever the model in service says of them; agreement is measured on their claims."""
VERDICTS = {"yes": "supported", "no": "contradicted", "cannot see": "not checkable"}
"""Answer -> verdict."""
_SAYS = {
    "yes": "the second reader says that the pictures show it",
    "no": "the second reader says that the pictures show something else",
    "cannot see": "the second reader cannot see it",
    "": "the second reader did not read it",
}


@dataclass(frozen=True)
class SecondReader:
    """Sends claims with pictures, within the budget of its settings; answers in the ledger are not requested again."""

    config: SecondReaderConfig
    ledger: Path
    rights: Rights = DEFAULT_RIGHTS
    """Which rows may be used; the server receives nothing of the others."""

    def read(
        self, claims: pd.DataFrame, explanations: pd.DataFrame, staging: DataLayout, *, progress: bool = False
    ) -> pd.DataFrame:
        """``claims`` with the answers and the verdict of both readers; see ``with_answers``.

        Args:
            claims: Table with ``claim_table.COLUMNS``.
            explanations: The texts, in the order that ``claims`` counts.
            staging: Their entities and pictures; those of the test split are never sent.
            progress: Show a bar.

        Raises:
            BudgetSpent: The next request could exceed the budget; the answers so far are in the ledger.
            ConfigError: The host is not allowed, or the environment variable of the key is not set.
            WriterError: The server cannot be used, or some requests failed even after retries.
        """
        chosen = texts_to_read(claims, explanations, contradicted_by=self.config.contradicted_by)
        shown = Requests(staging, pictures=self.config.max_pictures, rights=self.rights)
        about = {one.entity_id: one for one in shown}
        requests = _text_requests(chosen.positions, claims, explanations, about)[: self.config.most_texts]
        reader = OpenAIWriter(
            self.config, prompter=ClaimPrompter(self.config), pictures=self.config.max_pictures, ledger=self.ledger
        )
        waiting = _ClaimRequests(requests, shown)
        send_missing(waiting, writer=reader, ledger=self.ledger, progress=progress, what="second reader")
        answers = [""] * len(claims)
        with Ledger(self.ledger) as ledger:
            keys = [key_of(one.request, writer=reader) for one in requests]
            stored = ledger.get(keys)
        for one, key in zip(requests, keys, strict=True):
            for row, answer in zip(one.rows, answers_of(stored.get(key, ()), claims=len(one.rows)), strict=True):
                answers[row] = answer
        drawn = claims["position"].isin(chosen.drawn)
        read = pd.Series(answers, index=claims.index, dtype="str")
        return with_answers(claims, read, drawn, contradicted_by=self.config.contradicted_by)


class ChosenTexts(NamedTuple):
    """Positions of the texts that are read."""

    positions: list[int]
    """All, the most important ones first."""
    drawn: list[int]
    """Those that were drawn."""


def texts_to_read(claims: pd.DataFrame, explanations: pd.DataFrame, *, contradicted_by: str) -> ChosenTexts:
    """First ``AGREEMENT_TEXTS`` texts, drawn by their ids; then those with a contradicted claim; then all others,
    unless both readers have to contradict a claim.
    """
    ids = explanations["explanation_id"].tolist()
    with_claims = pd.unique(claims["position"])
    order = sorted(map(int, with_claims), key=lambda position: digest("second reader", str(ids[position])))
    wrong = set(claims.loc[claims["verdict"] == "contradicted", "position"])
    drawn, rest = order[:AGREEMENT_TEXTS], order[AGREEMENT_TEXTS:]
    others = [] if contradicted_by == "both" else [position for position in rest if position not in wrong]
    return ChosenTexts([*drawn, *(position for position in rest if position in wrong), *others], drawn)


class _TextRequest(NamedTuple):
    """The request about one text."""

    rows: list[int]
    """Of its claims in the table."""
    request: ExplanationRequest


def _text_requests(
    positions: Sequence[int], claims: pd.DataFrame, explanations: pd.DataFrame, about: dict[str, ExplanationRequest]
) -> list[_TextRequest]:
    """The requests about these texts, without those whose entity has no picture that may be sent."""
    rows_of = claims.groupby("position", sort=False).indices
    attributes, values = claims["attribute"].tolist(), claims["value"].tolist()
    requests = []
    for position in positions:
        text = explanations.iloc[position]
        entity = about.get(str(text["entity_id"]))
        if entity is None or not entity.pictures_sha256:
            continue
        rows = [int(row) for row in rows_of[position]]
        stated = [f"{attributes[row]}: {values[row]}" for row in rows]
        language = str(text["language"] or "en")
        request = claim_request(entity, text=str(text["text"]), language=language, claims=stated)
        requests.append(_TextRequest(rows, request))
    return requests


class _ClaimRequests:
    """The requests as ``explanations.stage`` takes them."""

    def __init__(self, requests: Sequence[_TextRequest], shown: Requests) -> None:
        self._requests, self._shown = requests, shown

    def __iter__(self) -> Iterator[ExplanationRequest]:
        return (one.request for one in self._requests)

    def with_pictures(self, request: ExplanationRequest) -> ExplanationRequest:
        return self._shown.with_pictures(request)


def with_answers(claims: pd.DataFrame, answers: pd.Series, drawn: pd.Series, *, contradicted_by: str) -> pd.DataFrame:
    """``claims`` with ``READER_COLUMNS``, and the verdict of both readers.

    A claim is contradicted where one of them contradicts it, or with ``both`` where both do; supported where one
    supports it and none contradicts it; not checkable in all other cases, disagreement included.

    Args:
        claims: Table with ``claim_table.COLUMNS``.
        answers: A key of ``VERDICTS`` for each claim, or ''.
        drawn: Whether its text was drawn to measure agreement.
        contradicted_by: ``one`` or ``both``.
    """
    first, second = claims["verdict"], answers.map(VERDICTS).fillna("")
    no = np.column_stack([first == "contradicted", second == "contradicted"])
    wrong = no.all(axis=1) if contradicted_by == "both" else no.any(axis=1)
    good = ~no.any(axis=1) & ((first == "supported") | (second == "supported")).to_numpy()
    verdict = np.select([wrong, good], ["contradicted", "supported"], "not checkable")
    # Its answer stands beside the first reader's reason, also where an answer was needed and is missing.
    spoke = (answers != "") | (no[:, 0] & (contradicted_by == "both"))
    reason = (claims["reason"].fillna("") + "; " + answers.map(_SAYS)).str.removeprefix("; ")
    return claims.assign(
        champion_verdict=first,
        reader_answer=answers,
        drawn=drawn,
        verdict=verdict,
        reason=claims["reason"].mask(spoke & (verdict != "supported"), reason).mask(verdict == "supported", ""),
    )
