"""Wrong colours of parts, replaced by those that the source states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from entityclip.data import pairs
from entityclip.explanations.stage import replace_texts
from entityclip.paths import DataLayout
from entityclip.quality.claims.source_colours import COLOUR, WrongColour, wrong_colours
from entityclip.quality.claims.split import Claim, exchanged
from entityclip.quality.claims.vocabulary import Vocabulary

COLUMNS = ["entity_id", "language", "why", "text", "corrected", "generator"]


class CorrectedText(NamedTuple):
    """A text whose colours agree with the source."""

    position: int
    text: str
    why: str
    """What was replaced, and by what."""


def corrected_texts(
    explanations: pd.DataFrame, source_provided: pd.DataFrame, vocabulary: Vocabulary
) -> Iterator[CorrectedText]:
    """Texts in which a part or pattern has another colour than in the texts of the source, with the source's colour.

    A colour is replaced where the source states exactly one in its place. In Japanese, an adjective is replaced by an
    adjective alone. Texts that a person reviewed stay.

    Args:
        explanations: N rows with entity_id, text, language, and reviewer.
        source_provided: Texts of the source: entity_id, text, language.
        vocabulary: Which words state what.
    """
    reviewed = (explanations["reviewer"].fillna("") != "").tolist()
    for position, found in wrong_colours(explanations, source_provided, vocabulary):
        row = explanations.iloc[position]
        text, why = str(row["text"]), []
        for wrong in reversed(found):  # from the end, so that the places before stay where they are
            spellings = _spellings(wrong, text, vocabulary, language=str(row["language"]))
            if spellings:
                text = exchanged(text, Claim(COLOUR, wrong.stated.colour, (wrong.span,)), spellings)
                why.append(f"{wrong.stated.owner[1]}: {wrong.stated.colour} -> {wrong.colours[0]}")
        if why and not reviewed[position]:
            yield CorrectedText(position, text, "; ".join(reversed(why)))


def _spellings(wrong: WrongColour, text: str, vocabulary: Vocabulary, *, language: str) -> tuple[str, ...]:
    """Spellings of the source's colour that fit the place; none where the source states several."""
    if len(wrong.colours) > 1:
        return ()
    known = vocabulary.spellings(language, COLOUR)[wrong.colours[0]]
    adjective = text[slice(*wrong.span)].endswith("い")
    return tuple(spelling for spelling in known if spelling.endswith("い")) if adjective else known


def correct_staged(staging: DataLayout, vocabulary: Vocabulary) -> pd.DataFrame:
    """Correct the texts in staging, once; returns ``COLUMNS``, a row for each corrected text."""
    rows = pairs.read_frame(staging.explanations)
    source = pairs.read_frame(staging.source_provided)
    found = {one.position: one for one in corrected_texts(rows, source, vocabulary)}

    def replaced() -> Iterator[dict[str, object]]:
        for position, row in enumerate(pairs.iter_rows(staging.explanations)):
            one = found.get(position)
            key = one and pairs.digest("corrected", row["explanation_id"], one.text)
            yield row if one is None else row | {"explanation_id": key, "text": one.text}

    if found:
        replace_texts(staging, replaced())
    old = rows.iloc[list(found)]
    new = {"why": [one.why for one in found.values()], "corrected": [one.text for one in found.values()]}
    return old.assign(**new)[COLUMNS].reset_index(drop=True)
